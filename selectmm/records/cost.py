"""The cost clock: seconds times devices, and peak memory."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a stage used: wall seconds, device-seconds (seconds × devices), and peak memory of a device in GiB.

    Of a stage over several processes the memory is that of the one that took most. On a CPU it is the largest resident
    set so far of the process or of one that it waited for, which never falls: it bounds the stage's own peak.
    """

    seconds: float = 0.0
    device_seconds: float = 0.0
    peak_gib: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.seconds + other.seconds,
            self.device_seconds + other.device_seconds,
            max(self.peak_gib, other.peak_gib),
        )

    def part(self, share: float) -> "Cost":
        """A share of the seconds; memory was needed whole."""
        return Cost(self.seconds * share, self.device_seconds * share, self.peak_gib)


class Clock:
    """Runs from its creation; `cost` may be read at any time."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._start = time.perf_counter()
        self.noted = 0.0  # peak GiB of other processes
        self.charged = 0.0  # device-seconds that were spent elsewhere

    def cost(self) -> Cost:
        """What it took since the clock was started, and what was charged besides."""
        seconds = time.perf_counter() - self._start
        return Cost(seconds, seconds * self._devices + self.charged, max(peak_gib(), self.noted))


_running: list[Clock] = []


@contextmanager
def measure(devices: int = 1) -> Iterator[Clock]:
    """Yield a clock for a block that keeps ``devices`` devices busy."""
    torch = sys.modules.get("torch")  # a stage that never imported torch has no device memory to report
    if torch is not None and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(devices)
    _running.append(clock)
    try:
        yield clock
    finally:
        _running.remove(clock)


def note_peak(gib: float) -> None:
    """Count the peak memory of another process, GiB, for every clock that runs in this one (stages may be nested)."""
    for clock in _running:
        clock.noted = max(clock.noted, gib)


def charge(device_seconds: float) -> None:
    """Add what was spent elsewhere, such as by another program, to the clocks that run in this process."""
    for clock in _running:
        clock.charged += device_seconds


def peak_gib() -> float:
    """Peak memory of this process's device in GiB, see `Cost`."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
    return max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / unit
