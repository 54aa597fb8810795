"""`selectmm plan` as it is typed: its screen, its JSON, and what it refuses."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest

from selectmm.command_line.jobs import read_jobs
from selectmm.commands.plan import main
from selectmm.commands.plan import place as put
from selectmm.errors import UserError
from selectmm.instantiate import build
from selectmm.planning.stages import total_of
from selectmm.screen import output
from tests.planning.planned import H100, experiment_of, planned, states, words


def test_without_a_configuration_the_rest_is_planned_and_what_is_missing_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = place / "gone"
    main([*words(place, "gone", "method=prism", "budget=0.5", f"model.path={gone}"), "--gpu", "h100"])
    text = capsys.readouterr().out
    text = " ".join(text.split())
    assert "Note: Without the model there are no tokens, FLOPs and memory. No configuration and" in text
    found = planned(experiment_of(place, "gone", "method=prism", "budget=0.5", f"model.path={gone}"))[0]
    assert states(found)["features"] == states(found)["finetune"] == "unknown"
    assert [each.rows for each in found.stages[:4]] == [24, 12, 24, 12]
    assert total_of([found], H100, 0.5).unknown == 3


def test_a_sweep_from_the_command_line_and_its_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = words(place, "line", "method=full,random", "budget=0.5")
    with output(json=True):
        main(["-m", *arguments, "--gpu", "a100-80", "--utilisation", "0.3"])
    shown = capsys.readouterr()
    text = " ".join(shown.err.split())
    assert "full, budget 1," in text and "random, budget 0.5" in text
    assert text.startswith("run: 2 jobs job stages reused FLOPs") and "finetune" not in text, "one line for each job"
    assert re.search(r" all [56] \d ", text), "and one for all"
    assert "Estimates, not measurements: a100-80 at 30% of 312 (bfloat16) or 19.5 (float32) TFLOP/s, 80 GiB" in text
    content = json.loads(shown.out)
    assert [job["stages"][2]["name"] for job in content["jobs"]] == ["finetune", "finetune"]
    tuned = content["jobs"][0]["stages"][2]
    assert tuned["device_seconds"] == pytest.approx(tuned["work"]["flops"] / (19.5e12 * 0.3))
    assert tuned["fits"] is True
    assert content["total"]["flops"] == sum(
        each["work"]["flops"] or 0 for job in content["jobs"] for each in job["stages"] if each["state"] != "shared"
    )


def test_devices_and_nodes_each_take_the_place_of_the_configurations() -> None:
    ((config, method),) = read_jobs(["devices=2", "nodes=2", "method=random"], multirun=False)
    for devices, nodes, taken in ((None, None, (2, 2)), (None, 4, (2, 4)), (8, None, (8, 2)), (8, 4, (8, 4))):
        placed = deepcopy(config)
        put(placed, devices, nodes)
        assert (placed.devices, placed.nodes) == taken
    assert build(placed, method).devices == 8 * 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--gpu", "h1000"],
            "There is no GPU h1000 in the table; there are: a100-40, a100-80, h100, h200, l40s,",
        ),
        (["--utilisation", "40"], "--utilisation 40 is not a share; give a number above 0 and at most 1."),
        (["--sample", "0"], "--sample 0 is not a number of rows; give 1 or more."),
        (["method=prism,random"], "'method=prism,random' is a sweep; give -m as well, or one value."),
        (["pool=llava_json", "pool.file=none.json", "pool.images=."], "There is no pool file none.json; set pool.file"),
        (["strategy=ddp", "devices=3"], "3 devices cannot share recipe.batch_size=4 equally; take 2 or another number"),
        (["method=prsm"], "There is no 'method=prsm': did you mean 'method=prism'?"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_sentence(place: Path, arguments: list[str], said: str) -> None:
    base = ["suite=prism"] if any("pool" in word for word in arguments) else words(place, "bad")
    here = [] if "--gpu" in arguments else ["--gpu", "h100"]
    with pytest.raises(UserError) as problem:
        main([*base, *arguments, *here])
    assert str(problem.value).startswith(said)
