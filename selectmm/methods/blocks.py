"""Rows of an array that may be larger than memory, a block at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mmap import mmap

import numpy as np
import torch


def blocks(values: np.ndarray, rows: np.ndarray, size: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Go once through ``values`` from the first row to the last and yield those that are asked for.

    Args:
        values: [units, width], may be memory-mapped. rows: positions in it, ascending; they may repeat or leave gaps.
        size: rows of ``values`` held at a time.

    Yields:
        The part of ``rows`` that is served, and their values, [that many, width], the caller's to change until the next
        part comes, which is written over them: float64 stays float64, all else becomes float32.

    Raises:
        OSError: a mapped file has become shorter than its map.
    """
    kind = torch.float64 if values.dtype == np.float64 else torch.float32
    held = torch.empty((min(size, len(values)), *values.shape[1:]), dtype=kind)
    with _reader(values, held) as read:
        for start in range(0, len(values), size):
            first, last = np.searchsorted(rows, [start, start + size]).tolist()
            if first == last:
                continue
            block, wanted = read(start, min(start + size, len(values))), rows[first:last] - start
            whole = len(wanted) == len(block) and bool((np.diff(wanted) == 1).all())
            yield slice(first, last), block if whole else block[torch.from_numpy(wanted)]


@contextmanager
def _reader(values: np.ndarray, held: torch.Tensor) -> Iterator[Callable[[int, int], torch.Tensor]]:
    """What puts rows ``start`` to ``stop`` into ``held`` and returns that part of it.

    Memory that was just used is still in the processor's cache, and fresh memory costs a page fault every 4 KiB. A
    mapped file is read past its map for the same reason; the map's pages would also count as ours until the kernel
    wants them back.
    """
    if not (isinstance(values, np.memmap) and isinstance(values.base, mmap) and values.flags.c_contiguous):

        def copied(start: int, stop: int) -> torch.Tensor:
            held.numpy()[: stop - start] = values[start:stop]
            return held[: stop - start]

        yield copied
        return
    same = held.numpy().dtype == values.dtype
    stored = held if same else torch.from_numpy(np.empty(tuple(held.shape), values.dtype))
    with open(values.filename, "rb", buffering=0) as stream:

        def read(start: int, stop: int) -> torch.Tensor:
            stream.seek(values.offset + start * values.strides[0])
            part, block = stored[: stop - start], held[: stop - start]
            left = memoryview(part.numpy()).cast("B")
            while left:
                got = stream.readinto(left)
                if not got:
                    raise OSError(f"{values.filename} ends before its row {stop}.")
                left = left[got:]
            return block if same else block.copy_(part)

        yield read
