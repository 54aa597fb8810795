"""Two sides of a comparison, each in a process of its own, and what they come to."""

import json
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch

from selectmm.cache.provenance import provenance

ROOT = Path(__file__).resolve().parents[2]
START: Literal["forkserver", "fork"] = "forkserver"  # "fork": from this process, whatever it has done
PRELOADED = ("shared_pass", "gradients", "training")  # what the server imports: with it all that any page needs

Work = Callable[..., Callable[[], np.ndarray | None]]
"""Prepares what is not measured and returns what is; that may return numbers to hold against the other side's."""


@dataclass(frozen=True)
class Side:
    """What a side took.

    Attributes:
        seconds: wall clock of the measured part, without the time that its first thread was ready to go on and other
            programs had the cores (`clock`). busy: seconds that its threads spent on a core, which other work on
            the machine disturbs less.
        peak: most memory that its process ever held, MiB (``ru_maxrss``: Python, libraries and mapped files included).
        grown: most that the measured part held beyond what the process held when it began, MiB.
        held_up: seconds that `clock` left out.
    """

    seconds: float
    busy: float
    peak: float
    grown: float
    held_up: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Ours against a baseline, in ``seconds`` or in memory (``grown``, or the whole ``peak``).

    Attributes:
        aim: the ratio is to be at least (``at_least``, baseline / ours) or at most (ours / baseline) this; None where
            there is nothing to meet.
        differs: largest difference of the two sides' numbers, as a share of the largest; None where they have none.
    """

    what: str
    baseline: str
    ours: Side
    theirs: Side
    aim: float | None
    at_least: bool = True
    of: Literal["seconds", "grown", "peak"] = "seconds"
    differs: float | None = None

    @property
    def ratio(self) -> float:
        """Ours against theirs, so that the aim is on the side that ``at_least`` names."""
        ours, theirs = getattr(self.ours, self.of), getattr(self.theirs, self.of)
        above, below = (theirs, ours) if self.at_least else (ours, theirs)
        return above / below if below else float("nan")  # memory may not have grown at all

    @property
    def met(self) -> bool | None:
        """Whether the ratio reaches the aim; None where there is none."""
        if self.aim is None:
            return None
        return self.ratio >= self.aim if self.at_least else self.ratio <= self.aim


def measure(work: Work, *arguments: object) -> tuple[Side, np.ndarray | None]:
    """Run a side in a fresh process, forked from one that has imported all there is and done nothing.

    Raises:
        RuntimeError: it ended without a result; its own message is on the screen.
    """
    context = multiprocessing.get_context(START)
    # The server does not get our sys.path, and would find another checkout or none.
    os.environ["PYTHONPATH"] = str(ROOT)
    context.set_forkserver_preload([f"experiments.performance.{page}" for page in PRELOADED])
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, work, arguments))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise RuntimeError(f"{work.__name__} ended without a result") from None
    finally:
        child.join()


def median(sides: Sequence[tuple[Side, np.ndarray | None]]) -> tuple[Side, np.ndarray | None]:
    """Of one side, measured several times, the time in the middle: a virtual machine's speed changes within minutes."""
    return sorted(sides, key=lambda one: one[0].seconds)[len(sides) // 2]


def differs(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference as a share of the largest number."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def keep(
    name: str,
    settings: dict[str, object],
    comparisons: list[Comparison],
    folder: Path,
    figures: Mapping[str, object] = MappingProxyType({}),
    floors: Sequence[dict[str, object]] = (),
) -> Path:
    """Print the comparisons and write them as ``folder/name.json``, with where they come from.

    Args:
        figures: what is held against nothing, by what the page calls it.
        floors: `experiments.performance.floor.Floor.record` of what was measured.
    """
    for c in comparisons:
        aim = "" if c.aim is None else f", aim {'≥' if c.at_least else '≤'} {c.aim:g}: {'met' if c.met else 'NOT met'}"
        print(f"{c.what}\n  against {c.baseline}\n  ratio {c.ratio:.3g} in {c.of}{aim}")
        for label, side in (("ours", c.ours), ("baseline", c.theirs)):
            times = f"{side.seconds:9.3f} s, {side.busy:.3f} s on a core"
            print(f"  {label:9}{times}, peak {side.peak:,.0f} MiB, of it grown {side.grown:,.0f}")
    for floor in floors:
        print(f"{floor['of']}\n  {floor['times']:.3g} times its floor of {floor['least']:.3g} {floor['unit']}")
    made = [{**asdict(c), "ratio": c.ratio, "met": c.met} for c in comparisons]
    machine = {"threads": torch.get_num_threads(), "load": os.getloadavg()[1]}  # over the last five minutes
    record = {"name": name, "settings": settings, **machine, "comparisons": made, "figures": dict(figures)}
    record["floors"] = list(floors)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**record, "provenance": asdict(provenance())}, indent=1, ensure_ascii=False) + "\n")
    print(path)
    return path


def _child(sender: Connection, work: Work, arguments: tuple[object, ...]) -> None:
    run = work(*arguments)
    prepared, before = _peak(), _peak_from_now_on()
    waited, start, busy = _held_up(), clock(), time.process_time()
    result = run()
    seconds, busy, waited, peak = clock() - start, time.process_time() - busy, _held_up() - waited, _peak()
    sender.send((Side(seconds, busy, max(prepared, peak), peak - before, waited), result))


def clock() -> float:
    """Seconds that go by, but for those in which this thread was ready to go on and other programs had the cores.

    So a side that computes in one thread takes as long on a machine with other work as on an idle one, but for caches
    and memory that are shared. Linux counts this; elsewhere it is the wall clock.
    """
    waited, now = _held_up(), time.perf_counter()
    while (since := _held_up()) != waited:  # another program had the core between the two
        waited, now = since, time.perf_counter()
    return now - waited


def _held_up() -> float:
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _peak_from_now_on() -> float:
    """Count the peak from what is held now, MiB, which is returned.

    Otherwise what preparing needed for a moment would hide as much of what is measured. Linux can do so; elsewhere the
    peak of the whole process is returned and goes on.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> float:
    """MiB; macOS counts bytes where Linux counts KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
