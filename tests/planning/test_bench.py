"""`bench` on a tiny model, and the plan that it corrects."""

import json
from pathlib import Path

import pytest

from selectmm.commands.bench import main
from selectmm.commands.plan import main as plan
from selectmm.errors import UserError
from selectmm.planning.gpus import gpu_of
from selectmm.screen import output
from tests.planning.test_plan import words
from tests.test_line import ROOT


def test_what_is_measured_corrects_the_plan(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    chosen = [*words(place, "bench", "method=full"), "batch_size=2"]
    with output(json=True):
        main([*chosen, "--steps", "2"])
    shown = capsys.readouterr()
    told = " ".join(shown.err.split())
    assert all(f"{kind} " in told for kind in ("tuning", "features", "gradients", "decoding"))
    assert "measured here: float32 product of two 512 × 512 matrices" in told, "what the share of peak is of"
    [file] = (place / "bench" / "cache" / "bench").glob("cpu-*.json")
    kept = json.loads(file.read_text())
    document = json.loads(shown.out)
    assert (document["file"], document["factors"]) == (str(file), kept["factors"])
    for timed in kept["measured"].values():
        assert timed["seconds"] > 0 and 0 < timed["share"] < 1 and timed["tokens"] > 0
    with output(json=True):
        plan([*chosen, "--gpu", "cpu"])
    shown = capsys.readouterr()
    assert "From: Seconds corrected by `selectmm bench` of" in " ".join(shown.err.split())
    [tuned] = [s for s in json.loads(shown.out)["jobs"][0]["stages"] if s["name"] == "finetune"]
    assert tuned["measured"] == kept["factors"]["tuning"]
    speed = tuned["work"]["flops"] / tuned["device_seconds"] * kept["factors"]["tuning"] / 0.4
    assert speed == pytest.approx(gpu_of("cpu").fp32, rel=1e-6), "the estimate, times what was measured"
    plan([*chosen, "--gpu", "h100"])
    assert "corrected" not in capsys.readouterr().out, "another device"


def test_a_number_of_steps_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"--steps 0 is not a number of steps; give 1 or more\."):
        main(["--steps", "0"])
