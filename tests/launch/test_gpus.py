"""Two jobs of one machine never have the same GPU."""

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.launch import gpus


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(gpus, "_held", {})
    monkeypatch.setattr(gpus, "_ids", dict)
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


def test_each_job_takes_its_own_and_keeps_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    assert gpus.own_gpus(1) == ["4"] and os.environ[gpus.VISIBLE] == "4"
    assert gpus.own_gpus(1) == ["4"], "the process's next job"
    first = another_job(monkeypatch)
    assert gpus.own_gpus(2) == ["GPU-5f", "6"] and os.environ[gpus.VISIBLE] == "GPU-5f,6"
    second = another_job(monkeypatch)
    caplog.set_level(logging.INFO, "selectmm")
    waited = []
    monkeypatch.setattr(gpus.time, "sleep", lambda _: waited.append(1) or [file.close() for file in first.values()])
    assert gpus.own_gpus(1) == ["4"] and len(waited) == 1, "free once the first job's process has ended"
    assert caplog.messages == [f"  waiting   for GPUs of process {os.getpid()} on {socket.gethostname()}"]
    for file in second.values():
        file.close()


def test_the_next_job_of_a_process_has_as_many() -> None:
    """CUDA has read by then which GPUs it may see, and would go on with those."""
    assert gpus.own_gpus(2) == ["4", "GPU-5f"]
    with pytest.raises(UserError, match=r"^devices=1, but this process has taken 2 for an earlier job, .*; start a"):
        gpus.own_gpus(1)
    assert gpus.own_gpus(2) == ["4", "GPU-5f"] and os.environ[gpus.VISIBLE] == "4,GPU-5f"


LISTING = """GPU 3: NVIDIA H100 80GB HBM3 (UUID: GPU-5e11aa77-0001)
GPU 4: NVIDIA H100 80GB HBM3 (UUID: GPU-5f22bb88-0002)
  MIG 1g.10gb     Device  0: (UUID: MIG-77cc)
GPU 6: NVIDIA H100 80GB HBM3 (UUID: GPU-5f33cc99-0003)
"""
LISTED = {"3": "GPU-5e11aa77-0001", "4": "GPU-5f22bb88-0002", "6": "GPU-5f33cc99-0003"}


def test_the_numbers_and_names_of_gpus_are_those_of_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of the fixture
    script = tmp_path / "nvidia-smi"
    script.write_text(f"#!/bin/sh\nprintf '%s' '{LISTING}'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpus._ids() == LISTED
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert gpus._ids() == {}


def test_a_gpu_has_one_lock_by_its_number_and_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_ids", lambda: LISTED)
    assert gpus.own_gpus(1) == ["4"]
    first = another_job(monkeypatch)
    monkeypatch.setenv(gpus.VISIBLE, "GPU-5f22bb88,GPU-5f33cc99-0003,MIG-77cc")
    assert gpus.own_gpus(2) == ["GPU-5f33cc99-0003", "MIG-77cc"], "the first is number 4, by the beginning of its name"
    for file in first.values():
        file.close()
    assert gpus._lock_of("GPU-5f", LISTED) == "GPU-5f", "not the beginning of one alone"


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


def test_minus_one_ends_the_list_as_for_cuda_and_blanks_are_no_part_of_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES=-1 is the usual way to hide all GPUs."""
    for given, names in (("-1", []), ("4, 5", ["4", "5"]), ("4,-1,5", ["4"]), ("", [])):
        monkeypatch.setenv(gpus.VISIBLE, given)
        assert gpus.visible_gpus() == names
    monkeypatch.setenv(gpus.VISIBLE, "-1")
    assert gpus.own_gpus(1) == [] and os.environ[gpus.VISIBLE] == "-1"


def test_a_part_of_a_gpu_may_have_slashes_in_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(gpus.VISIBLE, "MIG-GPU-5f/1/0,MIG-GPU-5f/2/0")
    assert gpus.own_gpus(2) == ["MIG-GPU-5f/1/0", "MIG-GPU-5f/2/0"]


def test_a_lock_never_empties_a_file_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("content")
    locks = tmp_path / f"selectmm-{os.getuid()}-gpus"
    locks.mkdir(mode=0o700)
    for name in ("4.lock", "4.holder"):
        (locks / name).symlink_to(tmp_path / "mine")
    assert gpus.own_gpus(1) == ["4"] and (tmp_path / "mine").read_text() == "content"


@pytest.mark.parametrize("theirs", ["a link", "open to all"])
def test_locks_lie_where_no_other_user_can_hold_them(theirs: str, tmp_path: Path) -> None:
    """$TMPDIR is open to all users, and the folder's name can be guessed."""
    locks = tmp_path / f"selectmm-{os.getuid()}-gpus"
    if theirs == "a link":
        locks.symlink_to(tmp_path)
    else:
        locks.mkdir()
        locks.chmod(0o777)
    with pytest.raises(UserError, match=rf"^{locks}, where jobs lock .* only you can write to; delete it, or"):
        gpus.own_gpus(1)
