"""Rows of an array that may be larger than memory, a block at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import pairwise
from mmap import mmap

import numpy as np
import torch

STORED = 2**18  # bytes that are read of a mapped file at a time: a part of a core's second cache


def dtype_of(values: np.ndarray) -> torch.dtype:
    """What `blocks` yields: float64 stays float64, all else becomes float32."""
    return torch.float64 if values.dtype == np.float64 else torch.float32


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
    held = torch.empty((min(size, len(values)), *values.shape[1:]), dtype=dtype_of(values))
    starts = range(0, len(values), size)
    edges = np.searchsorted(rows, [*starts, len(values)]).tolist()
    distinct = bool((np.diff(rows) > 0).all())
    with _reader(values, held) as read:
        for start, (first, last) in zip(starts, pairwise(edges), strict=True):
            if first == last:
                continue
            block = read(start, min(start + size, len(values)))
            if not (distinct and last - first == block.shape[0]):  # len of a tensor takes five times as long
                block = block[torch.from_numpy(rows[first:last] - start)]
            yield slice(first, last), block


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
    same, width = held.numpy().dtype == values.dtype, values.strides[0]  # bytes of a row
    few = len(held) if same else min(len(held), max(1, STORED // max(1, width)))
    stored = held if same else torch.from_numpy(np.empty((few, *values.shape[1:]), values.dtype))
    room = memoryview(stored.numpy()).cast("B")
    with open(values.filename, "rb", buffering=0) as stream:

        def read(start: int, stop: int) -> torch.Tensor:
            stream.seek(values.offset + start * width)
            block = held[: stop - start]
            for first in range(start, stop, few):
                rows = min(few, stop - first)
                _fill(room[: rows * width], stream, stop)
                if not same:
                    block[first - start : first - start + rows].copy_(stored[:rows])
            return block

        yield read


def _fill(left: memoryview, stream: FileIO, stop: int) -> None:
    """Read as many bytes as there is room for, which end before row ``stop`` of the array."""
    while left:
        got = stream.readinto(left)
        if not got:
            raise OSError(f"{stream.name} ends before its row {stop}.")
        left = left[got:]
