"""Requests that a device's memory does not hold at once, fewer at a time."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from accelerate.utils.memory import clear_device_cache

from selectmm.models.memory import ran_out

Found = TypeVar("Found")


def in_halves(ask: Callable[[Sequence[int]], Sequence[Found]], items: Sequence[int]) -> list[Found]:
    """What ``ask`` gives for all items at once or, where memory runs out, for half of them at a time, down to one.

    Raises:
        RuntimeError: memory runs out for one item alone.
    """
    try:
        return list(ask(items))
    except RuntimeError as problem:
        if len(items) == 1 or not ran_out(problem):
            raise
    clear_device_cache(garbage_collection=True)  # here, where nothing of the attempt is held any more
    middle = len(items) // 2
    return in_halves(ask, items[:middle]) + in_halves(ask, items[middle:])


def in_smaller_batches(ask: Callable[[int], Found], size: int) -> Found:
    """What ``ask`` gives in batches of ``size`` or, where memory runs out, of half the size, down to 1.

    Raises:
        RuntimeError: memory runs out in batches of 1.
    """
    try:
        return ask(size)
    except RuntimeError as problem:
        if size == 1 or not ran_out(problem):
            raise
    clear_device_cache(garbage_collection=True)
    return in_smaller_batches(ask, size // 2)
