"""With a key: W&B's own client uploads what a run says, to a service on this machine."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from omegaconf import OmegaConf

from experiments import wandb_report
from selectmm.command_line.jobs import read_jobs
from selectmm.errors import UserError
from selectmm.paths import ROOT
from selectmm.records.files import save
from selectmm.records.wandb_tracker import WandbTracker
from tests.records.wandb_service import Kept, Service, serving
from tests.test_line import one_run, overrides

# Of the package for W&B's reports, as it is imported and used.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:wandb.*")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the environment names, with a key for it."""
    folder = tmp_path_factory.mktemp("online")
    with serving() as service, pytest.MonkeyPatch.context() as environment:
        environment.setenv("WANDB_BASE_URL", service.address)
        environment.setenv("WANDB_API_KEY", 40 * "0")
        environment.setenv("WANDB_ERROR_REPORTING", "false")
        environment.setenv("WANDB_DATA_DIR", str(folder / "data"))
        environment.setenv("WANDB_CACHE_DIR", str(folder / "cache"))
        wandb.teardown()  # its process reads the environment once
        yield service
        wandb.teardown()


@pytest.fixture
def service(address: Service) -> Service:
    """The same, with nothing in it."""
    address.runs.clear()
    address.artifacts.clear()
    address.files.clear()
    address.views.clear()
    return address


def test_a_key_is_all_that_it_takes(service: Service, tmp_path: Path) -> None:
    (tmp_path / "subset.json").write_text("[1, 2]")
    tracker = WandbTracker("selectmm", tmp_path, "toy", mode="online")
    with tracker.stage("pool", {"seed": 1}) as run:
        run.artifact(None, "pool-1", "pool")
    with tracker.stage("select", {"seed": 1}) as run:
        run.log({"step": 3, "loss": 2.5})
        run.summary({"kept": 7})
        run.table("table", ["method"], [["prism"]])
        run.artifact(tmp_path / "subset.json", "subset-1", "subset", made_from=["pool-1"])
    pool, select = service.runs.values()
    assert [(run.group, run.job, run.exitcode) for run in (pool, select)] == [("toy", "pool", 0), ("toy", "select", 0)]
    assert pool.logged == {"pool-1": "pool"} and select.config["seed"] == 1
    assert (select.history[0]["_step"], select.history[0]["loss"], select.summary["kept"]) == (3, 2.5, 7)
    assert (select.logged["subset-1"], select.used) == ("subset", ["pool-1"])
    assert service.files["/subset-1/subset.json"] == b"[1, 2]"
    table = next(content for name, content in service.files.items() if name.startswith("/media/table/"))
    assert json.loads(table) == {"columns": ["method"], "data": [["prism"]]}


def test_a_whole_run_can_be_followed_from_its_pool_to_its_record(service: Service, place: Path) -> None:
    arguments = [*overrides(place, "llava15_7b", "online"), "method=random", "budget=0.5", "experiment=followed"]
    record = one_run(*arguments, "tracker=wandb", "tracker.mode=online", "suite.only=[mini-MMLU]")
    (run,) = service.runs.values()
    assert (run.group, run.job, run.exitcode) == ("followed", "run", 0)
    steps = [entry["finetune/step"] for entry in run.history if "finetune/step" in entry]
    assert steps == list(range(1, record.recipe.steps + 1))
    assert run.summary["evaluate/mini-MMLU"] == record.scores[0].value
    assert [name.split("-")[0] for name in run.logged] == ["pool", "subset", "adapter", "record"]
    assert run.used == []  # all were made here
    _report_asks_for_what_a_run_says(service, save(record, place / "uploaded"), run)


def _report_asks_for_what_a_run_says(service: Service, record: Path, run: Kept) -> None:
    address = wandb_report.main(["me/selectmm", str(record)])
    assert address == f"{service.address}/me/selectmm/reports/Data-selection:-followed--1"
    (view,) = service.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("me", "selectmm", "runs")
    grids = [block["metadata"] for block in json.loads(str(view["spec"]))["blocks"] if block["type"] == "panel-grid"]
    for grid in grids:
        ((wanted,),) = ([one["value"] for one in runs["filters"]["filters"]] for runs in grid["runSets"])
        assert wanted == ["followed"] == [run.group]
    panels = [panel["config"] for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    bars, points, *curves, _ = panels
    assert bars["metrics"] == ["summary_metrics.evaluate/mini-MMLU"] and bars["groupBy"] == "chosen.value.method"
    for axis in ("xAxis", "yAxis"):
        assert points[axis].removeprefix("summary:") in run.summary
    assert [metric for curve in curves for metric in curve["metrics"] if metric not in run.history[0]] == []
    ((config, _),) = read_jobs(["method=random"], multirun=False)  # a command says there which file was chosen
    assert OmegaConf.select(config, wandb_report.METHOD) == "random"


def test_what_the_service_does_not_have_ends_no_run(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A parent may have been logged to another project, or offline."""
    tracker = WandbTracker("selectmm", tmp_path, "toy", mode="online")
    with tracker.stage("record", {}) as run:
        run.artifact(None, "record-1", "record", made_from=["adapter-1"])
    (kept,) = service.runs.values()
    assert (kept.logged, kept.used, kept.exitcode) == ({"record-1": "record"}, [], 0)
    assert "W&B has no adapter-1 in this project" in caplog.text


def test_who_waits_for_the_service_is_told_so(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The service sleeps when the stage ends, and wakes up once that was told."""
    monkeypatch.setattr("selectmm.records.wandb_tracker.PATIENCE", 0.1)
    waking = logging.Handler()
    monkeypatch.setattr(waking, "emit", lambda record: "has not answered" in record.msg and service.awake.set())
    log = logging.getLogger("selectmm")
    log.addHandler(waking)
    tracker = WandbTracker("selectmm", tmp_path, "toy", mode="online")
    try:
        with tracker.stage("finetune", {}) as run:
            run.log({"step": 1, "loss": 2.5})
            service.awake.clear()
    finally:
        log.removeHandler(waking)
    assert [kept.exitcode for kept in service.runs.values()] == [0]
    assert "with tracker.mode=offline goes on from there and logs it again" in caplog.text


def test_a_failed_stage_is_told_to_the_service(service: Service, tmp_path: Path) -> None:
    tracker = WandbTracker("selectmm", tmp_path, "toy", mode="online")
    with pytest.raises(KeyboardInterrupt), tracker.stage("finetune", {}):
        raise KeyboardInterrupt
    assert [kept.exitcode for kept in service.runs.values()] == [1]


def test_a_report_that_cannot_be_made_says_why(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = str(next(ROOT.glob("results/records/video-random-*.json")))
    with pytest.raises(SystemExit):
        wandb_report.main(["selectmm", record])
    assert "'selectmm' is no ENTITY/PROJECT" in capsys.readouterr().err
    monkeypatch.setattr(service, "answer", lambda operation, asked: None)
    with pytest.raises(UserError, match=r"^W&B did not take the report \(.*\); name a project that has runs"):
        wandb_report.main(["me/selectmm", record])
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match=r"; install their package: pip install wandb-workspaces==0\.4\.5$"):
        wandb_report.main(["me/selectmm", record])
    assert "\nwandb-workspaces==0.4.5\n" in (ROOT / "requirements.lock").read_text()
