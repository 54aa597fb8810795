"""Leverage scores from the Gram matrix, one block of rows at a time."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from scipy.linalg import eigh, eigvalsh
from scipy.linalg.blas import get_blas_funcs

from selectmm.methods.blocks import blocks

BLOCK = 2048  # rows held at a time


def leverage(values: np.ndarray, rows: np.ndarray, energy: float, centering: bool) -> np.ndarray:
    """``π_i = ‖U_k[i]‖²``, U_k the first k left singular vectors of the chosen rows of ``values``; [n] of float64.

    k is the smallest rank whose squared singular values sum to ``energy`` of all. Computed as ``‖x_i V_k Λ_k^(-1/2)‖²``
    from the width × width matrix of inner products: three passes over the rows (two without centring), memory of one
    block and a few such matrices.

    Args:
        values: [units, width] of float, may be memory-mapped. rows: the n rows of it that count, ascending.
        energy: above 0, at most 1. centering: subtract the mean of every column first.
    """
    read = partial(blocks, values, rows, BLOCK)
    mean, gram = _moments(read, values.shape[1], centering)
    basis = _basis(gram, energy)
    scores = torch.empty(len(rows), dtype=torch.float64)
    for some, block in read():
        scores[some] = (_centred(block, mean) @ basis.to(block.dtype)).square().sum(1).double()
    return scores.numpy()


def spectrum(values: np.ndarray, rows: np.ndarray, centering: bool) -> np.ndarray:
    """Squared singular values of the chosen rows, largest first; [width] of float64. Arguments as `leverage`'s."""
    _, gram = _moments(partial(blocks, values, rows, BLOCK), values.shape[1], centering)
    return _energies(gram).numpy()


def rank_of(energies: torch.Tensor, energy: float) -> int:
    """The smallest number of ``energies`` (descending) that sum to the share ``energy`` of all; at least 1."""
    share = energies.cumsum(0) / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
    return min(int((share < energy - 1e-12).sum()) + 1, len(energies))


def _moments(
    read: Callable[[], Iterable[tuple[slice, torch.Tensor]]], width: int, centering: bool
) -> tuple[torch.Tensor, np.ndarray]:
    """The columns' mean (zeros without centring) and the upper triangle of the centred rows' inner products."""
    mean = torch.zeros(width, dtype=torch.float64)
    count = 0
    if centering:
        for _, block in read():
            mean += torch.ones(len(block), dtype=block.dtype) @ block
            count += len(block)
        mean /= max(count, 1)
    gram = np.zeros((width, width), order="F")  # as LAPACK wants it, and as the products come
    for _, block in read():
        gram += _upper_products(_centred(block, mean))
    return mean, gram


def _energies(gram: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(eigvalsh(gram, lower=False)[::-1].copy()).clamp(min=0)


def _upper_products(block: torch.Tensor) -> np.ndarray:
    """The upper triangle of ``blockᵀ block``, zeros below: half the work of the whole, which PyTorch cannot skip."""
    across = block.numpy().T
    return get_blas_funcs("syrk", (across,))(1.0, across)


def _basis(gram: np.ndarray, energy: float) -> torch.Tensor:
    """``V_k Λ_k^(-1/2)``, [width, k], from the upper triangle of a matrix, which is used up; columns of zeros where
    nothing varies."""
    energies = _energies(gram)
    k, width = rank_of(energies, energy), len(gram)
    _, vectors = eigh(gram, lower=False, subset_by_index=(width - k, width - 1), overwrite_a=True)
    floor = energies[0] * 1e-12
    scale = torch.where(energies[:k] > floor, energies[:k].clamp(min=floor).rsqrt(), 0)
    return torch.from_numpy(vectors[:, ::-1].copy()) * scale


def _centred(block: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    return block.sub_(mean.to(block.dtype))
