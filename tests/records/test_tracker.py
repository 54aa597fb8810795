"""The trackers: one finished run per stage, offline whatever the environment says, read back from its own file."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest.mock import MagicMock

import pytest
import wandb
from matplotlib.figure import Figure
from wandb.proto import wandb_internal_pb2 as proto
from wandb.sdk.internal.datastore import DataStore

from selectmm.errors import UserError
from selectmm.records.tracker import NoTracker, Tracker
from selectmm.records.wandb_tracker import WandbTracker, _WandbRun


def _read(folder: Path) -> list[proto.Record]:
    """The records of an offline run's file. W&B's own process closes it some milliseconds after ``finish`` returns."""
    patience = time.monotonic() + 5
    while True:
        with suppress(AssertionError):  # W&B's reader, of a record that is still being written
            records = list(_scan(folder))
            if "exit" in [record.WhichOneof("record_type") for record in records]:
                return records
        assert time.monotonic() < patience, "the run was not finished"
        time.sleep(0.01)


def _scan(folder: Path) -> Iterator[proto.Record]:
    store = DataStore()
    store.open_for_scan(str(next(folder.glob("*.wandb"))))
    while (data := store.scan_data()) is not None:
        record = proto.Record()
        record.ParseFromString(data)
        yield record


def _items(records: list[proto.Record], kind: str) -> list[dict[str, object]]:
    """History or summary entries as dicts."""
    entries = [getattr(r, kind) for r in records if r.WhichOneof("record_type") == kind]
    lists = [entry.item if kind == "history" else entry.update for entry in entries]
    return [{i.key or ".".join(i.nested_key): json.loads(i.value_json) for i in items} for items in lists]


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    """A tracker that has tracked two stages, one of which failed, in an environment that says ``online``."""
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "subset.json").write_text("[1, 2]")
    (folder / "adapter.safetensors").write_bytes(bytes(2**20 + 1))
    figure = Figure()
    figure.savefig(folder / "picture.png")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("WANDB_MODE", "online")
        environment.delenv("WANDB_API_KEY", raising=False)
        environment.delenv("WANDB_DATA_DIR", raising=False)
        tracker = WandbTracker("selectmm", folder, "toy")
        with tracker.stage("finetune", {"recipe": {"lr": 3e-4}, "seed": 1}) as run:
            run.log({"step": 11, "loss": 2.5})  # as after a resumed stage
            run.log({"step": 12, "loss": 1.25})
            run.summary({"POPE": 81.5})
            run.table("table", ["method", "Rel. %"], [["prism", "99.0"]])
            run.image("tradeoff", folder / "picture.png")
            run.scatter("points", ["method", "cost", "Rel."], [["prism", 30.0, 99.5]], "cost", "Rel.")
            run.artifact(folder / "subset.json", "subset-0", "subset")
            run.artifact(folder / "adapter.safetensors", "adapter-0", "adapter")
        with pytest.raises(KeyboardInterrupt), tracker.stage("evaluate", {}):
            raise KeyboardInterrupt
    return tracker


@pytest.fixture(scope="module")
def records(tracker: Tracker) -> list[proto.Record]:
    return _read(tracker.folders[0])


def test_every_stage_is_an_offline_run_of_the_group(tracker: Tracker) -> None:
    assert len(tracker.folders) == 2 and all(f.name.startswith("offline-run-") for f in tracker.folders)
    runs = [r.run for f in tracker.folders for r in _read(f) if r.WhichOneof("record_type") == "run"]
    assert [(run.run_group, run.job_type, run.project) for run in runs] == [
        ("toy", "finetune", "selectmm"),
        ("toy", "evaluate", "selectmm"),
    ]


def test_finish_is_called_on_success_and_on_failure(tracker: Tracker) -> None:
    exits = [r.exit.exit_code for f in tracker.folders for r in _read(f) if r.WhichOneof("record_type") == "exit"]
    assert exits == [0, 1]


def test_the_config_is_there(records: list[proto.Record]) -> None:
    run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
    config = {update.key: json.loads(update.value_json) for update in run.config.update}
    assert config["recipe"] == {"lr": 3e-4} and config["seed"] == 1


def test_losses_are_there_by_step(records: list[proto.Record]) -> None:
    losses = [(entry["_step"], entry["loss"]) for entry in _items(records, "history") if "loss" in entry]
    assert losses == [(11, 2.5), (12, 1.25)]


def test_what_a_step_says_and_what_the_machine_does_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of a training's losses goes to the run, which notes the machine's load by itself."""
    monkeypatch.setattr("selectmm.records.wandb_tracker.SYSTEM", 0.1)
    line = {
        "loss": 2.5,
        "lr": 1e-4,
        "seconds": 0.5,
        "tokens_per_second": 9.0,
        "gradient_norm": 0.7,
        "share_of_peak": 0.4,
    }
    tracker, patience = WandbTracker("selectmm", tmp_path, "toy"), time.monotonic() + 20
    with tracker.job("run", [], {}), tracker.stage("finetune", {}) as run:
        run.log({"step": 1, **line})
        while not (noted := [r.stats for r in _so_far(tracker.folders[0]) if r.WhichOneof("record_type") == "stats"]):
            assert time.monotonic() < patience, "nothing was noted of the machine"
            time.sleep(0.2)
    assert {item.key for item in noted[0].item} & {"cpu", "memory_percent", "proc.memory.percent"}
    [found] = [entry for entry in _items(_read(tracker.folders[0]), "history") if "finetune/loss" in entry]
    assert {name: found[f"finetune/{name}"] for name in line} == line


def _so_far(folder: Path) -> list[proto.Record]:
    """Of a run that is not finished, whose last record may be half written."""
    found: list[proto.Record] = []
    with suppress(AssertionError, StopIteration):
        for record in _scan(folder):
            found.append(record)
    return found


def test_scores_are_in_the_summary(records: list[proto.Record]) -> None:
    assert any(entry.get("POPE") == 81.5 for entry in _items(records, "summary"))


def test_table_and_picture_are_there(records: list[proto.Record], tracker: Tracker) -> None:
    files = [f.path for r in records if r.WhichOneof("record_type") == "files" for f in r.files.files]
    table = next(tracker.folders[0] / "files" / f for f in files if "/table_" in f)
    assert json.loads(table.read_text()) == {"columns": ["method", "Rel. %"], "data": [["prism", "99.0"]]}
    assert any(f.startswith("media/images/tradeoff") for f in files)


def test_a_scatter_is_a_table_of_numbers_and_a_chart_of_it(records: list[proto.Record], tracker: Tracker) -> None:
    files = [f.path for r in records if r.WhichOneof("record_type") == "files" for f in r.files.files]
    table = next(tracker.folders[0] / "files" / f for f in files if "/points_table_" in f)
    assert json.loads(table.read_text()) == {"columns": ["method", "cost", "Rel."], "data": [["prism", 30.0, 99.5]]}
    updates = [u for r in records if r.WhichOneof("record_type") == "config" for u in r.config.update]
    chart = next(update.value_json for update in updates if list(update.nested_key)[-1:] == ["points"])
    assert '"wandb/scatter/v0"' in chart and '"x": "cost"' in chart and '"y": "Rel."' in chart


def test_small_artifacts_are_copied_and_large_ones_stay_where_they_are(
    records: list[proto.Record], tracker: WandbTracker
) -> None:
    artifacts = {r.artifact.name: r.artifact for r in records if r.WhichOneof("record_type") == "artifact"}
    assert (artifacts["subset-0"].type, artifacts["adapter-0"].type) == ("subset", "adapter")
    small, large = (Path(artifacts[name].manifest.contents[0].local_path) for name in ("subset-0", "adapter-0"))
    assert small != tracker.folder / "subset.json" and small.read_text() == "[1, 2]"
    assert small.is_relative_to(tracker.folder)
    assert large == tracker.folder / "adapter.safetensors"


def test_the_folder_of_an_artifact_keeps_its_layout(tmp_path: Path) -> None:
    (tmp_path / "adapter" / "deep").mkdir(parents=True)
    (tmp_path / "adapter" / "deep" / "weights").write_text("w")
    tracker = WandbTracker("selectmm", tmp_path, "toy")
    with tracker.stage("finetune", {}) as run:
        run.artifact(tmp_path / "adapter", "adapter-1", "adapter")
    artifact = next(r.artifact for r in _read(tracker.folders[0]) if r.WhichOneof("record_type") == "artifact")
    assert [entry.path for entry in artifact.manifest.contents] == ["deep/weights"]


def test_lineage_is_read_back_from_the_offline_runs(tmp_path: Path) -> None:
    for name in ("subset.json", "record.json"):
        (tmp_path / name).write_text("{}")
    tracker = WandbTracker("selectmm", tmp_path, "toy")
    with tracker.stage("pool", {}) as run:
        run.artifact(None, "pool-1", "pool")
    with tracker.stage("select", {}) as run:
        run.artifact(tmp_path / "subset.json", "subset-1", "subset", made_from=["pool-1"])
    with tracker.stage("record", {}) as run:
        run.artifact(tmp_path / "record.json", "record-1", "record", made_from=["subset-1"])
    found = [r.artifact for f in tracker.folders for r in _read(f) if r.WhichOneof("record_type") == "artifact"]
    parents = {artifact.name: json.loads(artifact.metadata)["made_from"] for artifact in found}
    assert parents == {"pool-1": [], "subset-1": ["pool-1"], "record-1": ["subset-1"]}


def test_a_job_is_one_run_with_its_stages_inside(tmp_path: Path) -> None:
    tracker = WandbTracker("selectmm", tmp_path, "toy")
    with tracker.job("prism-0.3-s0", ["toy", "prism", 70 * "x"], {"seed": 0}):
        for stage, steps in (("warmup", (1, 2)), ("finetune", (1, 2, 3))):  # the second one's steps begin anew
            with tracker.stage(stage, {}) as run:
                for step in steps:
                    run.log({"step": step, "loss": 1 / step})
                run.summary({"seconds": 2.0})
                run.artifact(None, f"adapter-{stage}", "adapter")
    (folder,) = tracker.folders
    records = _read(folder)
    run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
    assert (run.display_name, list(run.tags), run.run_group) == ("prism-0.3-s0", ["toy", "prism", 64 * "x"], "toy")
    history = _items(records, "history")
    for stage, steps in (("warmup", [1, 2]), ("finetune", [1, 2, 3])):
        assert [entry[f"{stage}/step"] for entry in history if f"{stage}/step" in entry] == steps
    summaries = {name: value for entry in _items(records, "summary") for name, value in entry.items()}
    assert summaries["warmup/seconds"] == summaries["finetune/seconds"] == 2.0
    assert len([r for r in records if r.WhichOneof("record_type") == "artifact"]) == 2
    with tracker.stage("report", {}):  # outside of the job
        pass
    assert len(tracker.folders) == 2


def test_a_job_that_fails_is_told_so(tmp_path: Path) -> None:
    tracker = WandbTracker("selectmm", tmp_path, "toy")
    with pytest.raises(KeyboardInterrupt), tracker.job("job", [], {}), tracker.stage("finetune", {}):
        raise KeyboardInterrupt
    assert [r.exit.exit_code for r in _read(tracker.folders[0]) if r.WhichOneof("record_type") == "exit"] == [1]


def test_an_artifact_may_be_named_after_any_experiment(tmp_path: Path) -> None:
    names = ["report-Größe a/b", "record-" + 200 * "x" + "-0123456789abcdef"]
    tracker = WandbTracker("selectmm", tmp_path, "toy")
    with tracker.stage("report", {}) as run:
        for name in names:
            run.artifact(None, name, "report", made_from=names)
    found = [r.artifact for r in _read(tracker.folders[0]) if r.WhichOneof("record_type") == "artifact"]
    assert found[0].name == "report-Gr__e_a_b"
    assert len(found[1].name) == 128 and found[1].name.endswith("x-0123456789abcdef")
    assert json.loads(found[0].metadata)["made_from"] == [artifact.name for artifact in found]


def test_online_a_stage_uses_what_it_was_made_from() -> None:
    online = MagicMock(offline=False)
    _WandbRun(online).artifact(None, "subset-1", "subset", made_from=["pool-1"])
    online.use_artifact.assert_called_once_with("pool-1:latest")


def test_an_unknown_mode_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tracker\.mode=of is not known; it is offline or online"):
        WandbTracker("selectmm", tmp_path, "toy", mode="of")


def test_a_service_that_cannot_be_opened_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(**_: object) -> None:
        raise wandb.errors.UsageError("api_key not configured")

    monkeypatch.setattr(wandb, "init", refuses)
    tracker = WandbTracker("selectmm", tmp_path, "toy", mode="online")
    with pytest.raises(UserError, match=r"api_key not configured.*wandb login.*tracker.mode=offline"):
        with tracker.stage("finetune", {}):
            pass


def test_without_the_package_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"W&B cannot be imported .*; install wandb, or .* tracker=none"):
        with WandbTracker("selectmm", tmp_path, "toy").stage("pool", {}):
            pass


def test_no_tracker_says_nothing_and_hides_no_error(tmp_path: Path) -> None:
    tracker: Tracker = NoTracker()
    with pytest.raises(ValueError, match="mine"), tracker.job("j", [], {}), tracker.stage("finetune", {}) as run:
        run.log({"step": 1, "loss": 1.0})
        run.summary({"x": 1})
        run.table("t", ["a"], [[1]])
        run.scatter("s", ["a", "b"], [[1, 2]], "a", "b")
        run.image("i", tmp_path / "absent.png")
        run.artifact(tmp_path / "absent", "a", "subset")
        raise ValueError("mine")
    assert tracker.folders == []
