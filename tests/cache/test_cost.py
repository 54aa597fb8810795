"""The cost clock, with a device that says what it is told to."""

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier, BrokenBarrierError
from types import SimpleNamespace

import pytest

from selectmm.cache.cost import measure, note_busy

GIB = 2**30


def test_a_stage_inside_another_does_not_hide_what_the_outer_one_needed_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 GiB before it, 2 in it, 3 after it: 8 for the outer one, 2 for the inner one, 3 for one that follows."""
    peak = {"bytes": 0}

    def use(gib: int) -> None:
        peak["bytes"] = max(peak["bytes"], gib * GIB)

    cuda = SimpleNamespace(
        is_available=lambda: True,
        max_memory_allocated=lambda: peak["bytes"],
        reset_peak_memory_stats=lambda: peak.update(bytes=0),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    use(50)  # before any stage
    with measure() as outer:
        use(8)
        with measure() as inner:
            use(2)
        assert inner.cost().peak_gib == 2
        use(3)
    assert outer.cost().peak_gib == 8
    with measure() as later:
        use(3)
    assert later.cost().peak_gib == 3


def test_what_two_threads_note_at_once_is_counted_twice() -> None:
    both = Barrier(2)

    class Slow(float):
        """Is added only once another thread is about to add too, or cannot."""

        def __radd__(self, other: float) -> float:
            with suppress(BrokenBarrierError):
                both.wait(0.1)
            return other + float(self)

    with measure() as clock, ThreadPoolExecutor(2) as pool:
        list(pool.map(note_busy, [Slow(1), Slow(2)]))
    assert clock.busy == 3
