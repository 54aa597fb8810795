"""Made-up features on disk, and a disk cache that has forgotten them."""

import os
from pathlib import Path

import numpy as np
import torch

BLOCK = 4096  # rows made at a time


def write_features(path: Path, rows: int, width: int, dtype: str) -> Path:
    """Write [rows, width] as ``path`` (.npy): a mean, a spectrum that falls like i^-0.7 and turned at random; synced.

    Hidden states have a mean far from zero and few strong directions; nothing else of them is imitated.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.lib.format.open_memmap(path, "w+", np.dtype(dtype), (rows, width))
    rng = torch.Generator().manual_seed(0)
    strong = min(width, 64)  # directions that are turned; turning all would cost more than everything measured
    scale = torch.arange(1, width + 1).float() ** -0.7
    turn = torch.linalg.qr(torch.randn(width, strong, generator=rng))[0].T * scale[:strong, None]
    mean = torch.randn(width, generator=rng) * 0.1
    for start in range(0, rows, BLOCK):
        n = min(BLOCK, rows - start)
        block = torch.randn(n, strong, generator=rng) @ turn + mean
        block += torch.randn(n, width, generator=rng).mul_(scale[torch.arange(width).clamp(min=strong - 1)] / 2)
        values[start : start + n] = block.to(getattr(torch, dtype)).numpy()
    values.flush()
    return path


def forget(path: Path) -> None:
    """Drop the file's pages from this machine's cache (what a virtual machine's host keeps is out of reach)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
