"""A lock file of PyTorch's whose maker was killed is not waited for; one that is in use is."""

from pathlib import Path

from torch.utils.file_baton import FileBaton

from selectmm.tuning.operators import free


def test_a_build_that_was_killed_blocks_no_other(tmp_path: Path) -> None:
    lock = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    working = FileBaton(str(lock))
    assert working.try_acquire()
    free(tmp_path, "deepspeed_shm_comm")
    assert lock.exists(), "a process is at work"
    working.release()
    lock.touch()  # what a killed process leaves
    assert not FileBaton(str(lock)).try_acquire(), "PyTorch would wait for ever"
    free(tmp_path, "cpu_adam")
    assert lock.exists(), "another operator's"
    free(tmp_path, "deepspeed_shm_comm")
    assert FileBaton(str(lock)).try_acquire()
