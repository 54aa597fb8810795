"""A sweep that is killed and started again ends as one that is left alone: the short form, and the long form's page."""

import json
from pathlib import Path

import pytest

from experiments.chaos import chaos
from experiments.chaos.comparing import compare, half_written
from experiments.chaos.page import RECORD, ROOT, make
from experiments.chaos.watching import Shards
from tests.test_line import overrides


@pytest.mark.slow
def test_two_kills_change_nothing(place: Path, tmp_path: Path) -> None:
    own = ("cache", "records", "tracker")
    model = [word for word in overrides(place, "llava15_7b", "") if not word.startswith(own)]
    words = ["method=prism", "suite.only=[mini-SQA]", "recipe.checkpoint_every=1", "batch_size=1", *model]
    asked = ["--kills", "2", "--place", str(tmp_path / "chaos"), "--out", str(tmp_path / "out"), *words]
    record = json.loads(chaos.main(asked).read_text())
    assert chaos.troubles(record) == []
    assert len(record["kills"]) == 2 and record["starts"] >= 3
    assert [one["records"] for one in record["rounds"]] == [1] * len(record["rounds"])
    assert all(one["weights"] == 1 and one["subsets"] == 1 for one in record["rounds"])
    assert f"{len(record['kills'])} times" in make(tmp_path, tmp_path / "out" / "chaos.json").read_text()


def finished_sweep(folder: Path) -> Path:
    stage = folder / "cache" / "adapter" / f"{1:016x}"
    stage.mkdir(parents=True)
    (stage / "stage.json").write_text('{"stage": "adapter", "cost": {"seconds": 1}}')
    (stage / "adapter_model.safetensors").write_bytes(b"weights")
    (stage / "losses.jsonl").write_text('{"loss": 1.5, "seconds": 2}\n')
    (folder / "records").mkdir()
    (folder / "records" / "a.json").write_text('{"scores": [1.0], "costs": {"finetune": 1}}')
    return stage


@pytest.mark.parametrize(
    ("file", "content", "differs"),
    [
        ("stage.json", '{"stage": "adapter", "cost": {"seconds": 9}}', []),
        ("losses.jsonl", '{"loss": 1.5, "seconds": 9}\n', []),
        ("losses.jsonl", '{"loss": 1.25, "seconds": 2}\n', ["adapter/0000000000000001/losses.jsonl"]),
        ("adapter_model.safetensors", "Weights", ["adapter/0000000000000001/adapter_model.safetensors"]),
        ("more", "", ["adapter/0000000000000001/more is only in one cache"]),
        ("../../../records/a.json", '{"scores": [1.0], "costs": {"finetune": 9}}', []),
        ("../../../records/a.json", '{"scores": [1.5], "costs": {"finetune": 1}}', ["records/a.json: scores"]),
    ],
)
def test_a_difference_is_found(tmp_path: Path, file: str, content: str, differs: list[str]) -> None:
    finished_sweep(tmp_path / "alone")
    (finished_sweep(tmp_path / "killed") / file).write_text(content)
    found = compare(tmp_path / "alone", tmp_path / "killed")
    assert found.differ == differs
    assert (found.stages, found.weights, found.records) == (1, 1, 1)


def test_what_is_half_written_is_found(tmp_path: Path) -> None:
    stage = finished_sweep(tmp_path)
    assert half_written(tmp_path) == []
    (stage / ".train.json.77").touch()
    (tmp_path / "cache" / "adapter" / f"{2:016x}.partial").mkdir()
    assert [Path(path).name for path in half_written(tmp_path)] == [".train.json.77", f"{2:016x}.partial"]


def test_a_shard_that_is_written_again_is_found(tmp_path: Path) -> None:
    folder, shards = tmp_path / "features" / f"{1:016x}.partial", Shards()
    folder.mkdir(parents=True)
    for name in ("shard-0-3.npy", "shard-3-6.npy"):
        (folder / name).write_text("same")
    shards.killed(tmp_path)
    beside = folder / "beside"
    beside.write_text("same")
    beside.replace(folder / "shard-3-6.npy")
    shards.look(tmp_path)
    assert [path.name for path in shards.again] == ["shard-3-6.npy"] and len(shards.at_a_kill) == 2


def test_the_committed_page_is_made_again_from_a_run_of_a_commit(tmp_path: Path) -> None:
    record = json.loads(RECORD.read_text())
    assert record["provenance"]["commit"] and not record["provenance"]["dirty"]
    assert len(record["kills"]) >= 50 and chaos.troubles(record) == []
    assert str(ROOT) not in RECORD.read_text() and str(Path.home()) not in RECORD.read_text()
    assert make(tmp_path).read_text() == (ROOT / "results" / "tables" / "chaos.md").read_text()
