"""The cost clock, with a device that says what it is told to."""

import json
import subprocess
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
    peak = [0, 0]  # bytes; the second GPU is used

    def use(gib: int) -> None:
        peak[1] = max(peak[1], gib * GIB)

    cuda = SimpleNamespace(
        is_initialized=lambda: True,
        device_count=lambda: 2,
        max_memory_allocated=lambda device: peak[device],
        reset_peak_memory_stats=lambda device: peak.__setitem__(device, 0),
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


def test_a_gpu_that_is_not_used_says_nothing_of_a_model_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_initialized=lambda: False, is_available=lambda: True)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with measure() as clock:
        pass
    assert clock.cost().peak_gib > 0.01, "the process itself takes some"


def test_main_memory_from_before_a_gpu_is_used_is_not_taken_for_the_gpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    cuda = SimpleNamespace(
        is_initialized=lambda: bool(used),
        device_count=lambda: 1,
        max_memory_allocated=lambda _device: 1024,
        reset_peak_memory_stats=lambda _device: None,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    with measure() as outer:
        with measure() as inner:
            used.append("a GPU")
        assert inner.cost().peak_gib == outer.cost().peak_gib == 1024 / GIB


ON_A_CPU = """
import json, subprocess, sys
from selectmm.cache.cost import measure

def hold(mib):
    _ = bytearray(mib << 20)

hold(700)
with measure() as outer:
    first = outer.cost().peak_gib
    hold(500)
    with measure() as inner:
        hold(100)
        inner = inner.cost().peak_gib
    hold(200)
    outer = outer.cost().peak_gib
with measure() as started:
    subprocess.run([sys.executable, "-c", "_ = bytearray(900 << 20)"], check=True)
    started = started.cost().peak_gib
with measure() as later:
    later = later.cost().peak_gib
print(json.dumps([value - first for value in (outer, inner, started, later)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the peak of before stays")
def test_on_a_cpu_a_stage_is_charged_with_the_memory_of_its_own_time() -> None:
    """700 MiB before all stages; 500 in one before another inside it, which has 100, and 200 after that; then 900 in a
    process that a third one starts; nothing in the last. Beyond what the process held when the first one began."""
    done = subprocess.run([sys.executable, "-c", ON_A_CPU], capture_output=True, text=True, check=True)
    outer, inner, started, later = (gib * 1024 for gib in json.loads(done.stdout))
    assert (outer, inner, later) == (pytest.approx(500, abs=20), pytest.approx(100, abs=20), pytest.approx(0, abs=20))
    assert 860 < started < 920, "its process was not as large as ours, beside what it held"


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
