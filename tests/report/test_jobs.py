"""What jobs of a sweep will fail of is told before the first one runs."""

import errno
import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from PIL import Image

from selectmm.command_line.jobs import read_jobs
from selectmm.errors import UserError
from selectmm.report.jobs import alone, failures_in, keep_record, log_failures, records_in, warn_of_failures
from selectmm.report.sweep import SweepReport

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SELECTMM_ROOT", str(ROOT))


def test_jobs_that_cannot_run_are_told_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_failures(read_jobs(["method=random,clip_score", "budget=0.1,1.5"], multirun=True))
    assert (
        "3 of the sweep's 4 jobs cannot run; the others will. Press Ctrl-C to correct the command first:" in caplog.text
    )
    assert "budget=1.5 is not a share of the pool; give a number above 0 and at most 1, such as 0.3, or" in caplog.text
    assert "method=clip_score needs a CLIP" in caplog.text and "while online" in caplog.text


def test_a_sweep_of_which_nothing_can_run_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"^seed=a is not a whole number, .*\. seed=b is not a whole number, such as 0 or 1\.$"
    ):
        warn_of_failures(read_jobs(["method=random", "seed=a,b"], multirun=True))


def test_target_examples_of_another_suite_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
    (tmp_path / "targets.json").write_text(json.dumps([{"source": "POPE", "conversations": turns}]))
    given = ["targets=llava_json", f"targets.file={tmp_path}/targets.json", f"targets.images={tmp_path}"]
    warn_of_failures(read_jobs(["method=random,dataprophet", *given, f"cache={tmp_path}/cache"], multirun=True))
    assert "1 of the sweep's 2 jobs cannot run; the others will" in caplog.text
    assert "The target examples are of 'POPE', which suite=mini does not measure; it has: mini-SQA, " in caplog.text


def test_a_job_that_finds_the_disk_full_fails_with_a_sentence(tmp_path: Path) -> None:
    with alone(tmp_path, ["seed=1"]):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/pool.html")
    (failure,) = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert failure["reason"].startswith(
        "/data/pool.html could not be written: No space left on device. What was finished"
    )


def test_an_earlier_sweep_in_the_same_folder_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets hydra.sweep.dir starts a command again in the same folders, and perhaps with fewer jobs."""
    for number in ("0", "4"):
        (tmp_path / number).mkdir()
        with alone(tmp_path / number, [f"seed={number}"]):
            raise UserError("No.")
        keep_record(tmp_path / number, tmp_path / "record.json")
    config = OmegaConf.create({"nodes": 1, "hydra": {"sweep": {"dir": str(tmp_path)}}})
    assert len(failures_in(tmp_path)) == 2
    SweepReport().on_multirun_start(config)
    assert failures_in(tmp_path) == [] and records_in(tmp_path) == []


def test_of_jobs_that_can_run_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_failures(read_jobs(["method=random,full"], multirun=True))
    assert not caplog.records


def pool_words(folder: Path, name: str, image: str) -> str:
    """A pool of one row, as a choice of a sweep over pool.file."""
    said = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A dog."}]
    (folder / name).write_text(json.dumps([{"image": image, "conversations": said}]))
    return str(folder / name)


def test_a_bad_pool_is_told_once_before_the_first_job_however_many_jobs_want_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.new("RGB", (8, 6), "red").save(tmp_path / "1.png")
    good, bad = (pool_words(tmp_path, name, image) for name, image in (("good", "1.png"), ("bad", "2.png")))
    words = ["method=random,full", "pool=llava_json", f"pool.images={tmp_path}", f"cache={tmp_path / 'cache'}"]
    jobs = read_jobs([*words, f"pool.file={bad},{good}"], multirun=True)
    of_bad, of_good = ([job for job in jobs if job[0].pool.file == file] for file in (bad, good))
    with pytest.raises(UserError) as problem:
        warn_of_failures(of_bad, here=True)
    assert str(problem.value).count("1 row with a missing image (first: row 0, 2.png)") == 1
    warn_of_failures(jobs, here=True)
    assert "2 of the sweep's 4 jobs cannot run" in caplog.text
    assert caplog.text.count("1 row with a missing image") == 1
    caplog.clear()
    warn_of_failures(of_bad, here=False)  # as on Slurm, whose machines may have other disks
    warn_of_failures(of_good, here=True)
    assert not caplog.records


def test_jobs_that_fail_of_the_same_thing_say_it_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number, reason in enumerate(["The pool has 1 bad row.", "The pool has 1 bad row.", "No space."]):
        (tmp_path / str(number)).mkdir()
        with alone(tmp_path / str(number), [f"seed={number}"]):
            raise UserError(reason)
    assert caplog.text.count("The pool has 1 bad row.") == 1 and "as job seed=0" in caplog.text
    caplog.clear()
    log_failures(failures_in(tmp_path), 1)
    assert "Failed   seed=0; seed=1: The pool has 1 bad row." in caplog.text
    assert "Failed   seed=2: No space." in caplog.text and "3 of the sweep's jobs failed" in caplog.text
