"""Rows of an array that may be larger than memory, a block at a time."""

from collections.abc import Iterator
from mmap import mmap

import numpy as np
import torch


def blocks(values: np.ndarray, rows: np.ndarray, size: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Go once through ``values`` from the first row to the last and yield those that are asked for.

    Args:
        values: [units, width], may be memory-mapped. rows: positions in it, ascending; they may repeat or leave gaps.
        size: rows of ``values`` held at a time.

    Yields:
        The part of ``rows`` that is served, and their values, [that many, width], the caller's to change: float64 stays
        float64, all else becomes float32.
    """
    for start in range(0, len(values), size):
        first, last = np.searchsorted(rows, [start, start + size]).tolist()
        if first == last:
            continue
        block, wanted = _read(values, start, min(start + size, len(values))), rows[first:last] - start
        whole = len(wanted) == len(block) and bool((np.diff(wanted) == 1).all())
        yield slice(first, last), block if whole else block[torch.from_numpy(wanted)]


def _read(values: np.ndarray, start: int, stop: int) -> torch.Tensor:
    """Rows ``start`` to ``stop``. A mapped file is read past its map, whose page faults cost more than the reading, and
    whose pages would count as ours until the kernel wants them back."""
    if isinstance(values, np.memmap) and isinstance(values.base, mmap) and values.flags.c_contiguous:
        shape, at = (stop - start, *values.shape[1:]), values.offset + start * values.strides[0]
        block = np.fromfile(values.filename, values.dtype, int(np.prod(shape)), offset=at).reshape(shape)
    else:
        block = np.array(values[start:stop])
    return torch.from_numpy(block).to(torch.float64 if block.dtype == np.float64 else torch.float32)
