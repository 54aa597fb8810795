"""A sweep as a tree of processes: start it, see who belongs to it, kill one."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

from selectmm import __main__ as command_line

ROOT = Path(__file__).resolve().parents[2]
MARK = "SELECTMM_CHAOS"  # environment variable that every process of a sweep inherits, also one that lost its parent
SWEEP = "the sweep's own process"
KINDS = {
    "torch.distributed.run": "torchrun",
    "selectmm.features.worker": "feature rank",
    "selectmm.tuning.worker": "training rank",
    "selectmm.evaluation.worker": "evaluation rank",
}
REFRESH = 0.3  # seconds between looks at which processes there are: a look takes as long as a short stage


@dataclass
class Running:
    """A command that was started, and the processes that it started itself."""

    process: BaseProcess
    began: float = field(default_factory=time.monotonic)
    seen: float = 0.0
    family: list[tuple[psutil.Process, str]] = field(default_factory=list)

    def alive(self) -> bool:
        """Whether the command has not ended yet."""
        return self.process.is_alive()

    def members(self) -> list[tuple[psutil.Process, str]]:
        """Each living process of the tree with its kind, at most `REFRESH` seconds old."""
        now = time.monotonic()
        if not self.family or now - self.seen > REFRESH:
            self.family, self.seen = _family(self.process.pid), now
        return [member for member in self.family if member[0].is_running()]


def start(words: Sequence[str], folder: Path, log: Path) -> Running:
    """Start ``python -m selectmm`` with these words in ``folder``; what it prints is added to ``log``.

    The process is forked from this one, which has imported the packages: to import them again at every start would
    take most of the time. What the command starts itself (torchrun and its ranks) starts as ever.
    """
    process = multiprocessing.get_context("fork").Process(target=_run, args=(list(words), folder, log))
    process.start()
    return Running(process)


def _run(words: list[str], folder: Path, log: Path) -> None:
    os.setsid()
    os.chdir(folder)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ |= {MARK: mark_of(folder), "PYTHONPATH": str(ROOT)}
    # What DeepSpeed compiles: a kill must not touch what other runs of this machine load.
    os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(folder.parent / "extensions"))
    sys.argv = [str(ROOT / "selectmm" / "__main__.py"), *words]
    command_line.main()


def mark_of(folder: Path) -> str:
    """What the processes of a sweep in ``folder`` carry in their environment."""
    return str(folder)


def _family(root: int) -> list[tuple[psutil.Process, str]]:
    try:
        parent = psutil.Process(root)
        children = parent.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    named = [(child, kind) for child in children if (kind := kind_of(child)) is not None]
    return [(parent, SWEEP), *named]


def kind_of(process: psutil.Process) -> str | None:
    """What a process of the tree does; None if it has ended."""
    try:
        words = process.cmdline()
        if not words or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return next((kind for part, kind in KINDS.items() if part in words), "another process")


def left_behind(mark: str) -> list[psutil.Process]:
    """Processes of a sweep that still run, whoever their parent is now."""
    return [process for process in psutil.process_iter() if _carries(process, mark)]


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_for_none(mark: str, patience: float) -> tuple[float, list[str]]:
    """Wait until no process of a sweep is left.

    Returns:
        Seconds that it took, and the commands of those that were still there after ``patience`` seconds and had to be
        killed.
    """
    began = time.monotonic()
    wait_until(lambda: not left_behind(mark), patience)
    stayed = []
    for process in left_behind(mark):
        stayed.append(" ".join(process.cmdline()))
        process.kill()
    return time.monotonic() - began, stayed


def wait_until(true: Callable[[], bool], patience: float) -> bool:
    """Whether ``true`` came about within ``patience`` seconds."""
    end = time.monotonic() + patience
    while not (came := true()) and time.monotonic() < end:
        time.sleep(0.2)
    return came
