"""What jobs of a sweep will fail of is told before the first one runs."""

import errno
import json
import os
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.front import read_jobs
from selectmm.report.jobs import alone, foretell

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "SELECTMM_ROOT", str(ROOT))


def test_jobs_that_cannot_run_are_told_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    foretell(read_jobs(["method=random,clip_score", "budget=0.1,1.5"], multirun=True))
    assert "3 of the sweep's 4 jobs cannot run, the others will; Ctrl-C to mend the command first:" in caplog.text
    assert "budget=1.5 is not a share of the pool; give a number above 0 and at most 1, such as 0.3. (2)" in caplog.text
    assert "method=clip_score needs a CLIP" in caplog.text and "while online" in caplog.text


def test_a_sweep_of_which_nothing_can_run_is_refused() -> None:
    with pytest.raises(UserError, match=r"^seed=a is not a whole number\. seed=b is not a whole number\.$"):
        foretell(read_jobs(["method=random", "seed=a,b"], multirun=True))


def test_target_examples_of_another_suite_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
    (tmp_path / "targets.json").write_text(json.dumps([{"source": "POPE", "conversations": turns}]))
    given = ["targets=llava_json", f"targets.file={tmp_path}/targets.json", f"targets.images={tmp_path}"]
    foretell(read_jobs(["method=random,dataprophet", *given, f"cache={tmp_path}/cache"], multirun=True))
    assert "1 of the sweep's 2 jobs cannot run, the others will" in caplog.text
    assert "The target examples are of 'POPE', which suite=mini does not measure; it has: mini-SQA, " in caplog.text


def test_a_job_that_finds_the_disk_full_fails_with_a_sentence(tmp_path: Path) -> None:
    with alone(tmp_path, ["seed=1"]):
        raise OSError(errno.ENOSPC, "No space left on device", "/data/pool.html")
    (failure,) = [json.loads(path.read_text()) for path in tmp_path.iterdir()]
    assert failure["reason"].startswith(
        "/data/pool.html could not be written: No space left on device. What was finished"
    )


def test_of_jobs_that_can_run_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    foretell(read_jobs(["method=random,full"], multirun=True))
    assert not caplog.records
