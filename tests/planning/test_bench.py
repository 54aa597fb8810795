"""`bench` on a tiny model, and the plan that it corrects."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from selectmm.commands.bench import main
from selectmm.commands.plan import main as plan
from selectmm.errors import UserError
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.formulas import training
from selectmm.flops.gpus import UTILISATION, gpu_of
from selectmm.models.compute import Compute
from selectmm.models.encode import Conversation, encode
from selectmm.models.losses import answer_logits
from selectmm.planning.bench import SIZE, rows_like, time_tuning, with_random_weights
from selectmm.planning.load import load_of
from selectmm.pool.sample import Turn
from selectmm.screen import output
from selectmm.tuning.targets import lora_pattern
from tests.families import FAMILIES
from tests.planning.planned import experiment_of, words
from tests.test_line import ROOT


def test_what_is_measured_corrects_the_plan(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    chosen = [*words(place, "bench", "method=full"), "batch_size=2"]
    with output(json=True):
        main([*chosen, "--steps", "2"])
    shown = capsys.readouterr()
    text = " ".join(shown.err.split())
    assert all(f"{kind} " in text for kind in ("tuning", "features", "gradients", "decoding"))
    assert "measured here: float32 product of two 512 × 512 matrices" in text, "what the share of peak is of"
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


@pytest.mark.parametrize(
    ("compute", "said"),
    [
        ("flash", r"compute\.attention=flash_attention_2 needs .*a GPU, which this machine does not offer"),
        ("liger", r"compute\.liger=true needs .*a GPU, which this machine does not offer"),
        ("qlora", r"Random weights are not in 4 bits, so bench cannot time them; use compute=plain for it\."),
    ],
)
def test_what_a_run_would_compute_with_is_refused_as_a_run_refuses_it(
    compute: str, said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with pytest.raises(UserError, match=said):
        main([*words(place, f"bench-{compute}", "method=full"), f"compute={compute}", "--steps", "1"])
    assert not (place / f"bench-{compute}" / "cache" / "bench").exists()


def test_the_model_that_is_timed_computes_as_a_run_s(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    shapes, cpu = experiment_of(place, "bench-eager", "method=full").open_shapes("cpu"), torch.device("cpu")
    patched: list[object] = []
    monkeypatch.setattr(Compute, "patch", lambda self, model: patched.append(model))
    eager = with_random_weights(shapes, cpu, torch.float32, Compute("eager", "as_is", False))
    plain = with_random_weights(shapes, cpu, torch.float32)
    assert eager.model.model.language_model.config._attn_implementation == "eager"
    assert plain.model.model.language_model.config._attn_implementation == "sdpa", "shapes are as they were"
    assert patched == [eager.model, plain.model]


def test_what_checkpointing_computes_again_is_estimated_but_no_work_done(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    experiment, gpu = experiment_of(place, "bench-again", "method=full"), gpu_of("cpu")
    vlm, saving = experiment.open_model(), replace(experiment.recipe, gradient_checkpointing=True)
    body = anatomy_of(vlm, lora_pattern(vlm, saving))
    _, load = rows_like(vlm, saving.micro_batch, saving.max_length)
    timed = time_tuning(vlm, saving, gpu, steps=2)
    plain = training(body, load, replace(saving, gradient_checkpointing=False))
    assert timed.share * timed.seconds * gpu.fp32 == pytest.approx(2 * plain)
    assert training(body, load, saving) > 1.2 * plain
    assert timed.estimated * UTILISATION * gpu.fp32 == pytest.approx(2 * training(body, load, saving))


@pytest.mark.parametrize("name", ["llava_vicuna", "internvl3", "llava_onevision"])
def test_rows_that_are_timed_show_an_image_as_rows_of_a_pool_do_or_none_if_it_does_not_fit(
    name: str, tmp_path: Path
) -> None:
    vlm = FAMILIES[name].load(tmp_path)
    batch, load = rows_like(vlm, 2, 512)
    turns = (Turn("user", "What?"), Turn("assistant", "Red."))
    row = encode(vlm, [Conversation(turns, (Image.new("RGB", SIZE),))], side="right", limit=None)
    real = load_of(vlm, row, 512)
    expected = (2 * real.image_tokens, 2 * real.projected, 2 * real.tower)
    assert (load.image_tokens, load.projected, load.tower) == expected
    with torch.no_grad():
        assert len(answer_logits(vlm.model, batch)[0]) == load.answers > 0
    without, load = rows_like(vlm, 2, real.image_tokens)
    assert "pixel_values" not in without and (load.image_tokens, load.projected, load.tower) == (0, 0, 0)
    with torch.no_grad():
        assert len(answer_logits(vlm.model, without)[0]) > 0


def test_a_number_of_steps_is_asked_for() -> None:
    with pytest.raises(UserError, match=r"--steps 0 is not a number of steps; give 1 or more\."):
        main(["--steps", "0"])


def test_several_values_are_not_answered_with_an_option_that_bench_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    with pytest.raises(UserError, match=r"^These choices are 2 jobs, but bench times one; give one value"):
        main(["method=full,random"])
