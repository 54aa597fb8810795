"""The cost clock: seconds times devices, seconds in which a device computed, operations, and peak memory."""

import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, get_ident
from typing import Any


@dataclass(frozen=True)
class Cost:
    """What a stage used: wall seconds, device-seconds (seconds × devices), and peak memory of a device in GiB.

    ``busy_seconds``, over all devices, leave out of the device-seconds what is not a model's computation: loading it,
    waiting for images, writing. Waiting for the next batch counts as idle, even where a GPU still had work queued.
    ``flops`` are those of training, by the formulas of `selectmm.flops.formulas`. Either is None where nobody counted.

    Of a stage over several processes the memory is that of the one that took most. On a CPU it is the largest resident
    set while the stage ran; if another process ended meanwhile, it is at least that of the largest that ever did. Linux
    can count anew for each stage; elsewhere it is the largest so far. Both bound the stage's own.
    """

    seconds: float = 0.0
    device_seconds: float = 0.0
    peak_gib: float = 0.0
    busy_seconds: float | None = 0.0
    flops: float | None = 0.0

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "Cost":
        """Read the cost from a stage's file; files of before did not count everything."""
        return cls(**{"busy_seconds": None, "flops": None, **content})

    @classmethod
    def noted(cls, file: Path) -> "Cost":
        """What unfinished attempts noted in ``file``; nothing if there is none, or a crash left it cut."""
        try:
            return cls() + cls.read(json.loads(file.read_text()))  # the sum fails if something in it is no number
        except (OSError, ValueError, TypeError):
            return cls()

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.seconds + other.seconds,
            self.device_seconds + other.device_seconds,
            max(self.peak_gib, other.peak_gib),
            _sum(self.busy_seconds, other.busy_seconds),
            _sum(self.flops, other.flops),
        )

    def part(self, share: float) -> "Cost":
        """A share of the seconds; memory was needed whole."""
        busy, flops = (None if value is None else value * share for value in (self.busy_seconds, self.flops))
        return Cost(self.seconds * share, self.device_seconds * share, self.peak_gib, busy, flops)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _gpu_gib() -> float:
    """Most memory of a GPU since `_count_peak_anew`, GiB: a model may be on any of those that this process sees."""
    cuda = sys.modules["torch"].cuda
    return max(cuda.max_memory_allocated(device) for device in range(cuda.device_count())) / 2**30


def _resident_gib() -> float:
    """This process's largest resident set since `_count_peak_anew`, GiB."""
    with suppress(OSError, StopIteration):
        # getrusage never falls below what the program had that started this one.
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 2**20
    return _gib(resource.getrusage(resource.RUSAGE_SELF))


def _count_peak_anew() -> None:
    """Forget the peaks of before, as far as the system can."""
    if _on_gpu():
        cuda = sys.modules["torch"].cuda
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # Linux has it, and a container may hide it
        Path("/proc/self/clear_refs").write_text("5")


def _on_gpu() -> bool:
    """Whether this process has used a GPU. There may be one beside a model on the CPU; asking for it would start CUDA,
    which reads only then which GPUs it may see."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def _ended() -> tuple[float, float]:
    """Of the processes that this one waited for so far: peak memory of the largest, GiB, and seconds of all."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return _gib(used), used.ru_utime + used.ru_stime


def _gib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB


class Clock:
    """Runs from its creation; `cost` may be read at any time."""

    def __init__(self, devices: int) -> None:
        self._devices = devices
        self._start = time.perf_counter()
        self._thread = get_ident()
        self._ended = _ended()
        self.noted = 0.0  # peak GiB of other processes, and of a GPU before a stage inside this one began
        self.resident = 0.0  # peak GiB of main memory before a stage inside this one began
        self.charged = 0.0  # device-seconds that were spent elsewhere
        self.waited = 0.0  # seconds in which another process made what this one needs
        self.busy: float | None = None  # seconds and FLOPs that were counted, here and in other processes
        self.flops: float | None = None

    def wait(self, seconds: float) -> None:
        """Leave so many seconds out, if it is this thread that the clock is of."""
        self.waited += seconds if self._thread == get_ident() else 0.0

    def cost(self) -> Cost:
        """What it took since the clock was started, without waiting, and what was charged besides."""
        seconds = time.perf_counter() - self._start - self.waited
        device_seconds = seconds * self._devices + self.charged
        return Cost(seconds, device_seconds, self.peak(), self.busy, self.flops)

    def peak(self) -> float:
        """The most memory since the clock was started, GiB."""
        if _on_gpu():
            return max(_gpu_gib(), self.noted)
        ended = _ended()
        return max(_resident_gib(), self.resident, self.noted, 0.0 if ended == self._ended else ended[0])


_running: list[Clock] = []
_counting = Lock()  # several threads count: each process of an engine has one
_process = Clock(1)  # of this process, for the process that started it as a rank


@contextmanager
def measure(devices: int = 1) -> Iterator[Clock]:
    """Yield a clock for a block that keeps ``devices`` devices busy."""
    _note_own_peak()  # or clocks that run already would lose what was used until here
    _count_peak_anew()
    clock = Clock(devices)
    _running.append(clock)
    try:
        yield clock
    finally:
        _running.remove(clock)


def note_peak(gib: float) -> None:
    """Count the peak memory of another process, GiB, for every clock that runs in this one (stages may be nested)."""
    for clock in [*_running, _process]:
        clock.noted = max(clock.noted, gib)


def _note_own_peak() -> None:
    if _on_gpu():
        note_peak(_gpu_gib())
    resident = _resident_gib()
    for clock in [*_running, _process]:
        clock.resident = max(clock.resident, resident)


def charge(device_seconds: float) -> None:
    """Add what was spent elsewhere, such as by another program, to the clocks that run in this process."""
    for clock in _running:
        clock.charged += device_seconds


@contextmanager
def waiting() -> Iterator[None]:
    """The block waits for another process (or thread), which counts that time itself: no clock of this thread does."""
    start = time.perf_counter()
    try:
        yield
    finally:
        for clock in _running:
            clock.wait(time.perf_counter() - start)


@contextmanager
def computing() -> Iterator[None]:
    """The block is a model's computation; its results are there when it ends."""
    start = time.perf_counter()
    try:
        yield
    finally:
        note_busy(time.perf_counter() - start)


def note_busy(seconds: float, flops: float | None = None) -> None:
    """Count seconds in which a device computed, and its operations, for every clock that runs in this process."""
    with _counting:
        for clock in [*_running, _process]:
            clock.busy = (clock.busy or 0.0) + seconds
            if flops is not None:
                clock.flops = (clock.flops or 0.0) + flops


def used() -> str:
    """What this process used so far, for `note_used` in the one that started it."""
    return json.dumps({"peak": _process.peak(), "busy": _process.busy, "flops": _process.flops})


def note_used(text: str) -> None:
    """Count what another process used, in the words of `used`."""
    content = json.loads(text)
    note_peak(content["peak"])
    if content["busy"] is not None:
        note_busy(content["busy"], content["flops"])
