"""Released scores are those of the published file, and every band names real columns and tasks."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from selectmm.errors import UserError
from selectmm.verification import bands
from selectmm.verification.bands import released_as, released_for

ROOT = Path(__file__).parents[2]
NOWHERE = Path("results/references/none.json")
ENTRIES = yaml.safe_load((ROOT / "selectmm" / "verification" / "released.yaml").read_text())


def test_the_zoos_scores() -> None:
    """Read in the model zoo by hand."""
    seven = released_as("llava-1.5-7b full fine-tune")
    assert (seven.scores["GQA"], seven.scores["POPE"], seven.scores["MME-P"]) == (62.0, 85.9, 1510.7)
    assert released_as("llava-1.5-13b lora").scores["SQA-I"] == 71.2
    assert seven.source == "results/published/scores.csv"


def test_hub_ids_with_and_without_a_revision() -> None:
    assert released_for("llava-hf/llava-1.5-7b-hf", "any", NOWHERE).name == "llava-1.5-7b full fine-tune"
    assert released_for("llava-hf/llava-1.5-13b-hf@main", "any", NOWHERE).name == "llava-1.5-13b full fine-tune"


def test_the_configured_checkpoints_are_known() -> None:
    for size in ("7b", "13b"):
        path = yaml.safe_load((ROOT / "configs" / "model" / f"llava15_{size}.yaml").read_text())["path"]
        assert released_for(path, "any", NOWHERE).scores


def test_every_released_benchmark_has_a_band_and_every_band_a_column_and_a_reason() -> None:
    with bands.ZOO.open(newline="") as stream:
        columns = {cell["benchmark"] for cell in csv.DictReader(stream) if cell["table"] == "model zoo"}
    known = released_as("llava-1.5-7b full fine-tune").bands
    assert {band.released for band in known} == columns
    for band in known:
        assert band.why and band.split in ("same", "other")
        assert band.drift > 0 or not band.tasks


def test_the_bands_name_the_suites_benchmarks_and_their_tasks() -> None:
    files = sorted((ROOT / "configs" / "benchmark").glob("*.yaml"))
    entries = [entry for file in files for entry in yaml.safe_load(file.read_text()).values()]
    tasks = {entry["name"]: entry["task"] for entry in entries}
    for band in released_as("llava-1.5-7b full fine-tune").bands:
        for name in band.of if band.tasks else ():
            assert tasks[name] in band.tasks


@pytest.mark.parametrize("wrong", [("MMB-cn", 22.4), ("SQA-I", 58.7), ("MME-P", 1373.0), ("TextVQA", 46.0)])
def test_evaluators_that_others_found_wrong_are_outside_of_the_7b_bands(wrong: tuple[str, float]) -> None:
    name, value = wrong
    released = released_as("llava-1.5-7b full fine-tune")
    (band,) = (band for band in released.bands if band.released == name)
    assert abs(value - released.scores[name]) > band.drift


@pytest.mark.parametrize("right", [("MMB-cn", 55.8), ("MMB-cn", 57.6), ("SQA-I", 69.6)])
def test_evaluators_that_others_found_to_differ_a_little_are_inside(right: tuple[str, float]) -> None:
    name, value = right
    released = released_as("llava-1.5-7b full fine-tune")
    (band,) = (band for band in released.bands if band.released == name)
    assert abs(value - released.scores[name]) <= band.drift


def test_a_checkpoint_with_no_released_scores() -> None:
    with pytest.raises(UserError, match=r"No released scores are known for my/model \(weights 12ab\); known are: lla"):
        released_for("my/model", "12ab", NOWHERE)
    with pytest.raises(UserError, match=r"No scores were released as 'llava-2'; there are: llava-1.5-7b full fine"):
        released_as("llava-2")


def test_the_base_that_the_references_were_measured_on_is_known() -> None:
    path = ROOT / "results" / "references" / "mini.json"
    model = json.loads(path.with_suffix(".record.json").read_text())["model"]
    found = released_for(None, model, path)
    assert found.scores == {name: entry["base"] for name, entry in json.loads(path.read_text()).items()}
    assert {band.split for band in found.bands} == {"recorded"}
    with pytest.raises(UserError, match="No released scores are known for this model"):
        released_for(None, "another", path)


def test_a_band_that_is_not_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = {key: value for key, value in ENTRIES["benchmarks"][0].items() if key != "why"}
    (tmp_path / "released.yaml").write_text(yaml.safe_dump({**ENTRIES, "benchmarks": [entry]}))
    monkeypatch.setattr(bands, "HERE", tmp_path)
    with pytest.raises(UserError, match=r"released.yaml: field 'why' is missing; correct the file."):
        released_as("llava-1.5-7b lora")
