"""A stage that a process reads is in use until the process ends, however it ends."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from selectmm.cache import in_use
from selectmm.cache.in_use import hold, unused
from selectmm.cache.stage import run_stage

READS = """
import os, sys
from pathlib import Path
from selectmm.cache.stage import run_stage
run_stage(Path(sys.argv[1]), "features", {"x": 1}, lambda folder: None)
if sys.argv[2] == "fork" and os.fork():
    os._exit(0)
print("reads", flush=True)
sys.stdin.read()
"""


@contextmanager
def reader(cache: Path, how: str = "alone") -> Iterator[subprocess.Popen]:
    """Another process that has run the stage ``features`` and reads it."""
    command = [sys.executable, "-c", READS, str(cache), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "reads\n"
    try:
        yield process
    finally:
        process.stdin.close()
        process.stdout.read()  # ends when the last process does that has it open
        process.wait()


def note_in(cache: Path) -> Path:
    (note,) = cache.glob("features/*/stage.json")
    return note


def is_unused(file: Path) -> bool | None:
    with unused(file) as free:
        return free


def test_a_stage_is_in_use_until_its_reader_is_killed(tmp_path: Path) -> None:
    with reader(tmp_path) as first:
        with reader(tmp_path):
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert is_unused(note_in(tmp_path)) is False, "another one reads it too"
        assert is_unused(note_in(tmp_path)) is True


def test_a_process_that_was_forked_and_outlives_the_first_still_reads(tmp_path: Path) -> None:
    with reader(tmp_path, "fork") as first:
        first.wait()
        assert is_unused(note_in(tmp_path)) is False
    assert is_unused(note_in(tmp_path)) is True


def test_of_very_many_stages_those_used_last_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_use, "MOST", 2)
    monkeypatch.setattr(in_use, "_held", {})
    files = [tmp_path / name for name in "abc"]
    for file in [*files, files[1], files[0]]:
        file.touch()
        assert hold(file)
    assert [is_unused(file) for file in files] == [False, False, True]


def test_a_use_is_noted_where_the_cache_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stage.json"
    file.touch()
    os.utime(file, (1000, 1000))
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", _refuses)
        assert hold(file)
    assert file.stat().st_mtime == 1000 and is_unused(file) is False
    assert hold(file)
    assert file.stat().st_mtime > 1000


def test_without_locks_a_run_goes_on_and_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_use.fcntl, "flock", _refuses)
    file = tmp_path / "stage.json"
    file.touch()
    assert hold(file)
    assert is_unused(file) is None


def test_what_is_removed_while_a_run_waits_for_it_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_stage(tmp_path, "features", {"x": 1}, lambda folder: None)
    real, waited = in_use.fcntl.flock, []

    def waits(handle: int, how: int) -> None:
        if how == in_use.fcntl.LOCK_SH and not waited:
            waited.append(handle)
            shutil.rmtree(first.folder)
        real(handle, how)

    monkeypatch.setattr(in_use.fcntl, "flock", waits)
    again = run_stage(tmp_path, "features", {"x": 1}, lambda folder: (folder / "value").touch())
    assert not again.cached and (again.folder / "value").exists()


def _refuses(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")
