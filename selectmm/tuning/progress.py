"""The progress of a training run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from selectmm.cache.progress import progress


@contextmanager
def step_bar(steps: int) -> Iterator[Callable[[dict[str, float]], None]]:
    """Progress over ``steps`` with the loss and the time left; yields what takes each line of ``losses.jsonl``."""
    with progress("fine-tune", steps) as show:
        yield lambda entry: show(int(entry["step"]), f"loss {entry['loss']:.3f}")
