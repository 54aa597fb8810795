"""Heavy imports: PyTorch and its like make more than half a million objects that all stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage inside the block, and never again among what is there at its end.

    Python looks through all objects again and again while they become more: a quarter of the time of an import. Later
    collections, and those of forked processes, which would copy every page that they look at, leave out what is frozen.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if collecting:
            gc.enable()
