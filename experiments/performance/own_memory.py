"""The memory that a process has of its own: pages of mapped files are the disk cache's, and the system takes them back.

Linux only.
"""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np

from experiments.performance.sides import Side

EVERY = 0.005  # seconds between two looks


class OwnMemory(Thread):
    """The most memory that this process has had of its own since it was started, MiB: looked at again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.most = _own()
        self.start()

    def run(self) -> None:
        """Look."""
        while True:
            self.most = max(self.most, _own())
            time.sleep(EVERY)


def watched(run: Callable[[], object]) -> Callable[[], np.ndarray]:
    """``run`` with the process's own memory before and at most, MiB, as its numbers."""

    def watch() -> np.ndarray:
        own = OwnMemory()
        run()
        return np.array([own.before, own.most])

    return watch


def own_memory(side: Side, found: Sequence[float] | np.ndarray) -> Side:
    """A side with its process's own memory, ``found`` before and at most, in place of all."""
    before, most = found
    return replace(side, peak=float(most), grown=float(most - before))


def _own() -> float:
    return int(re.search(r"^RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M).group(1)) / 1024
