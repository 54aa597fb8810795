"""What a schedule's stage is named after: two runs that train on other rows never share one."""

import json
from pathlib import Path
from typing import Any

import pytest

from selectmm.experiment import Experiment
from selectmm.stages.schedule import identity_of, requests_of
from tests.stages.test_schedule import experiment_of
from tests.test_line import ROOT
from tests.tiny import tiny_clip

ONCE = ("schedule=reselect", "schedule.warmup=0", "schedule.updates=1")


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))


def identity(experiment: Experiment) -> dict[str, Any]:
    pool = experiment.open_pool()
    return identity_of(experiment, pool, "model", "cpu", requests_of(experiment, pool), None)


def conversation(number: int) -> dict[str, object]:
    said = [("user", f"Which number is {number}?"), ("assistant", f"It is {number}.")]
    return {"id": f"row-{number}", "messages": [{"role": role, "content": content} for role, content in said]}


@pytest.mark.parametrize("schedule", [ONCE, ("schedule=infobatch",)])
def test_a_list_of_places_names_other_rows_once_an_unreadable_row_has_moved(
    place: Path, tmp_path: Path, schedule: tuple[str, ...]
) -> None:
    file, listed = tmp_path / "pool.json", tmp_path / "list.json"
    listed.write_text(json.dumps([{"row": number} for number in range(1, 7)]))
    good, bad = [conversation(number) for number in range(12)], {"id": "bad", "messages": "none"}
    pool = ("pool=sharegpt", f"pool.file={file}", "pool.bad_rows=drop", "budget=6", "recipe.epochs=4")

    def named(rows: list[dict[str, object]], *method: str) -> tuple[str, dict[str, Any]]:
        file.write_text(json.dumps(rows))
        experiment = experiment_of(place, *pool, *method, *schedule)
        return experiment.open_pool().fingerprint, identity(experiment)

    by_place = ("method=from_indices", f"method.file={listed}")
    (rows, before), (same_rows, after) = named([bad, *good], *by_place), named([*good, bad], *by_place)
    assert rows == same_rows and before != after
    assert named([bad, *good], "method=random") == named([*good, bad], "method=random"), "it reads no places"


def test_another_encoder_in_the_same_folder_is_another_stage(place: Path, tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "clip", 20)
    experiment = experiment_of(place, "method=clip_score", f"method.checkpoint={folder}", *ONCE)
    before = identity(experiment)
    assert identity(experiment) == before
    (folder / "model.safetensors").write_bytes(b"other weights")
    assert identity(experiment) != before


def test_a_stage_without_places_and_encoders_keeps_its_name(place: Path) -> None:
    named = identity(experiment_of(place, "method=el2n", *ONCE))
    assert not {"places", "encoders"} & named.keys()


def test_two_schedules_of_ones_own_in_one_file_have_names_of_their_own(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the file alone the second one's record would replace the first one's."""
    lines = ["from selectmm.schedules.reselect import Reselect", "from selectmm.schedules.loss import Loss", "", ""]
    for name, kind in (("Once", "Reselect"), ("Twice", "Reselect"), ("Alone", "Loss")):
        lines += [f"class {name}({kind}):", "    pass", "", ""]
    (tmp_path / "own_schedules.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    named = [
        experiment_of(place, "method=el2n", group, f"schedule._target_=own_schedules.{kind}").chooser
        for group, kind in (("schedule=reselect", "Once"), ("schedule=reselect", "Twice"), ("schedule=loss", "Alone"))
    ]
    assert named == ["own_schedules.Once+el2n", "own_schedules.Twice+el2n", "own_schedules.Alone"]
    assert experiment_of(place, "method=el2n", "schedule=reselect").chooser == "reselect+el2n"
