"""Two jobs of one machine never have the same GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.stages import gpus


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_held", {})
    monkeypatch.setenv(gpus.VISIBLE, "4,GPU-5f,6")
    yield
    for file in gpus._held.values():
        file.close()


def another_job(monkeypatch: pytest.MonkeyPatch) -> dict:
    """From here on this process is another job; returns what the first one holds."""
    first = gpus._held
    monkeypatch.setattr(gpus, "_held", {})
    monkeypatch.setenv(gpus.VISIBLE, "4,GPU-5f,6")
    return first


def test_each_job_takes_its_own_and_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpus.own_gpus(1) == ["4"] and os.environ[gpus.VISIBLE] == "4"
    assert gpus.own_gpus(1) == ["4"], "the process's next job"
    first = another_job(monkeypatch)
    assert gpus.own_gpus(2) == ["GPU-5f", "6"] and os.environ[gpus.VISIBLE] == "GPU-5f,6"
    second = another_job(monkeypatch)
    waited = []
    monkeypatch.setattr(gpus.time, "sleep", lambda _: waited.append(1) or [file.close() for file in first.values()])
    assert gpus.own_gpus(1) == ["4"] and len(waited) == 1, "free once the first job's process has ended"
    for file in second.values():
        file.close()


def test_a_job_that_finds_one_of_two_holds_none_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus.own_gpus(2)
    first = another_job(monkeypatch)

    def wait(_seconds: float) -> None:
        assert not gpus._held
        first.popitem()[1].close()

    monkeypatch.setattr(gpus.time, "sleep", wait)
    assert gpus.own_gpus(2) == ["GPU-5f", "6"]
    first.popitem()[1].close()


def test_a_machine_without_gpus_serves_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "")
    assert gpus.own_gpus(8) == []
    gpus.check_enough(8, 1, 0)


def test_fewer_gpus_than_jobs_or_devices() -> None:
    with pytest.raises(UserError, match=r"^1 job with 4 GPUs each, but there are 3; set hydra\.launcher\.n_jobs or de"):
        gpus.own_gpus(4)
    with pytest.raises(UserError, match=r"^4 jobs at a time with 1 GPU each, but there are 3; set hydra\.launcher\.n"):
        gpus.check_enough(4, 1, 3)
