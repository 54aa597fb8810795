"""The same numbers through PyTorch Lightning's loggers, read back from CSV files with Python's own reader."""

import csv
import errno
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.records.loggers import LoggerTracker
from selectmm.records.tracker import Tracker, writable


def test_curves_and_final_values_of_a_jobs_stages_are_one_file(tmp_path: Path) -> None:
    tracker: Tracker = LoggerTracker("csv", tmp_path, "toy")
    with tracker.job("prism-0.3-s0", ["toy"], {"seed": 0, "recipe": {"lr": 0.1}}):
        with tracker.stage("finetune", {}) as run:
            run.log({"step": 1, "loss": 2.5})
            run.log({"step": 2, "loss": 1.25})
            run.summary({"seconds": 3.0, "coverage": {"not": "a number"}})
            run.table("t", ["a"], [[1]])
            run.artifact(tmp_path, "a", "subset")
        with tracker.stage("evaluate", {}) as run:
            run.summary({"POPE": 81.5})
    with (tmp_path / "toy" / "prism-0.3-s0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [(int(row["step"]), float(row["finetune/loss"])) for row in rows if row["finetune/loss"]]
    assert losses == [(1, 2.5), (2, 1.25)]
    assert [float(row["finetune/seconds"]) for row in rows if row["finetune/seconds"]] == [3.0]
    assert [float(row["evaluate/POPE"]) for row in rows if row["evaluate/POPE"]] == [81.5]
    assert "lr: 0.1" in (tmp_path / "toy" / "prism-0.3-s0" / "hparams.yaml").read_text()
    assert tracker.folders == []


def test_a_stage_outside_of_a_job_is_a_run_of_its_own(tmp_path: Path) -> None:
    with LoggerTracker("csv", tmp_path, "toy").stage("report", {}) as run:
        run.log({"rows": 3})
    assert (tmp_path / "toy" / "report" / "metrics.csv").read_text().splitlines()[1].startswith("3")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = rf"^The tracker cannot write to {tmp_path}/file/csv \(Not a directory\); set tracker\.folder to a folder of"
    with (
        pytest.raises(UserError, match=said),
        LoggerTracker("csv", tmp_path / "file" / "csv", "toy").job("one", [], {}),
    ):
        pass


def test_a_full_disk_stays_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), writable(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_logger_whose_package_is_missing_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("mlflow")

    monkeypatch.setattr("selectmm.records.loggers.MLFlowLogger", missing)
    with (
        pytest.raises(
            UserError, match=r"tracker=mlflow needs the package mlflow.*; install it, or choose tracker=wandb"
        ),
        LoggerTracker("mlflow", tmp_path, "toy").job("j", [], {}),
    ):
        pass


def test_a_run_of_the_same_name_keeps_the_curve_of_the_earlier_one(tmp_path: Path) -> None:
    """As in a sweep over the learning rate, or when a killed run is continued."""
    for value in (1.0, 2.0):
        tracker = LoggerTracker("csv", tmp_path, "toy")
        with tracker.job("prism-0.3-s0", [], {}), tracker.stage("finetune", {}) as run:
            run.log({"step": 1, "loss": value})
    for name, value in (("prism-0.3-s0", "1.0"), ("prism-0.3-s0-2", "2.0")):
        with (tmp_path / "toy" / name / "metrics.csv").open() as file:
            assert [row["finetune/loss"] for row in csv.DictReader(file) if row["finetune/loss"]] == [value]
