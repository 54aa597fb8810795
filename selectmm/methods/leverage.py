"""Leverage scores from the Gram matrix, one block of rows at a time."""

from collections.abc import Iterator

import numpy as np
import torch

BLOCK = 4096  # rows held at a time


def leverage(values: np.ndarray, rows: np.ndarray, energy: float, centering: bool) -> np.ndarray:
    """``π_i = ‖U_k[i]‖²``, U_k the first k left singular vectors of the chosen rows of ``values``; [n] of float64.

    k is the smallest rank whose squared singular values sum to ``energy`` of all. Computed as ``‖x_i V_k Λ_k^(-1/2)‖²``
    from the width × width matrix of inner products: two passes over the rows, memory of one block and one such matrix.

    Args:
        values: [units, width] of float, may be memory-mapped. rows: the n rows of it that count, ascending.
        energy: above 0, at most 1. centering: subtract the mean of every column first.
    """
    mean = torch.zeros(values.shape[1], dtype=torch.float64)
    if centering:
        for block in _blocks(values, rows):
            mean += block.double().sum(0)
        mean /= len(rows)
    gram = torch.zeros(values.shape[1], values.shape[1], dtype=torch.float64)
    for block in _blocks(values, rows):
        centred = _centred(block, mean)
        gram += centred.T @ centred
    basis = _basis(gram, energy)
    scores = [(_centred(block, mean) @ basis.to(block.dtype)).square().sum(1) for block in _blocks(values, rows)]
    return torch.cat(scores).double().numpy()


def rank_of(energies: torch.Tensor, energy: float) -> int:
    """The smallest number of ``energies`` (descending) that sum to the share ``energy`` of all; at least 1."""
    share = energies.cumsum(0) / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
    return min(int((share < energy - 1e-12).sum()) + 1, len(energies))


def _basis(gram: torch.Tensor, energy: float) -> torch.Tensor:
    """``V_k Λ_k^(-1/2)``, [width, k]; columns of zeros where there is no variance at all."""
    energies, vectors = torch.linalg.eigh(gram)
    energies, vectors = energies.flip(0).clamp(min=0), vectors.flip(1)
    k = rank_of(energies, energy)
    floor = energies[0] * 1e-12
    scale = torch.where(energies[:k] > floor, energies[:k].clamp(min=floor).rsqrt(), 0)
    return vectors[:, :k] * scale


def _centred(block: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return block.sub_(mean.to(block.dtype))


def _blocks(values: np.ndarray, rows: np.ndarray) -> Iterator[torch.Tensor]:
    """Copies of the rows, [at most BLOCK, width], in float64 if they are, else in float32."""
    kind = np.float64 if values.dtype == np.float64 else np.float32
    for start in range(0, len(rows), BLOCK):
        yield torch.from_numpy(np.array(values[rows[start : start + BLOCK]], kind))
