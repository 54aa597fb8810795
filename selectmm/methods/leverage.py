"""Leverage scores from the Gram matrix, one block of rows at a time."""

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal, eigvalsh, eigvalsh_tridiagonal
from scipy.linalg.blas import get_blas_funcs
from scipy.linalg.lapack import get_lapack_funcs

from selectmm.methods.blocks import blocks, dtype_of

BLOCK = 2048  # rows held at a time
SAMPLE = 256  # rows whose mean stands for that of all until it is known
APART = 16  # rows that are read for one of them


def leverage(values: np.ndarray, rows: np.ndarray, energy: float, centering: bool) -> np.ndarray:
    """``π_i = ‖U_k[i]‖²``, U_k the first k left singular vectors of the chosen rows of ``values``; [n] of float64.

    k is the smallest rank whose squared singular values sum to ``energy`` of all. Computed as ``‖x_i V_k Λ_k^(-1/2)‖²``
    from the width × width matrix of inner products: two passes over the rows, memory of one block and a few such
    matrices.

    Args:
        values: [units, width] of float, may be memory-mapped. rows: the n rows of it that count, ascending.
        energy: above 0, at most 1. centering: subtract the mean of every column first.
    """
    mean, gram = _moments(values, rows, centering)
    basis = _basis(gram, energy).to(mean.dtype)
    scores = torch.empty(len(rows), dtype=torch.float64)
    for some, block in blocks(values, rows, BLOCK):
        scores[some] = (block.sub_(mean) @ basis).square().sum(1).double()
    return scores.numpy()


def spectrum(values: np.ndarray, rows: np.ndarray, centering: bool) -> np.ndarray:
    """Squared singular values of the chosen rows, largest first; [width] of float64. Arguments as `leverage`'s."""
    _, gram = _moments(values, rows, centering)
    return np.maximum(eigvalsh(gram, lower=True, overwrite_a=True)[::-1], 0)


def rank_of(energies: torch.Tensor, energy: float) -> int:
    """The smallest number of ``energies`` (descending) that sum to the share ``energy`` of all; at least 1."""
    share = energies.cumsum(0) / energies.sum().clamp(min=torch.finfo(energies.dtype).tiny)
    return min(int((share < energy - 1e-12).sum()) + 1, len(energies))


def _moments(values: np.ndarray, rows: np.ndarray, centering: bool) -> tuple[torch.Tensor, np.ndarray]:
    """The columns' mean (zeros without centring) and the lower triangle of the centred rows' inner products.

    One pass gives both: rows are centred by the mean of a sample of them, which spares the products the digits that a
    large mean would take, and what that mean is off by is subtracted from the products, in double precision.
    """
    near = torch.zeros(values.shape[1], dtype=dtype_of(values))
    if centering and len(rows):
        sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(int)]
        # Read as all others: rows taken from a map would keep much of the file around them in memory.
        total = sum(block.sum(0, dtype=torch.float64) for _, block in blocks(values, sample, APART))
        near = (total / len(sample)).to(near.dtype)
    gram = np.zeros((len(near), len(near)), order="F")  # as LAPACK wants it, and as the products come
    off = torch.zeros(len(near), dtype=torch.float64)
    for _, block in blocks(values, rows, BLOCK):
        block.sub_(near)
        off += torch.ones(len(block), dtype=block.dtype) @ block
        gram += _lower_products(block)
    if not centering:
        return near, gram
    off /= max(len(rows), 1)
    gram -= np.outer(off, len(rows) * off).T
    return (near.double() + off).to(near.dtype), gram


def _lower_products(block: torch.Tensor) -> np.ndarray:
    """The lower triangle of ``blockᵀ block``, zeros above: half the work of the whole, which PyTorch cannot skip."""
    across = block.numpy().T
    return get_blas_funcs("syrk", (across,))(1.0, across, lower=1)


def _basis(gram: np.ndarray, energy: float) -> torch.Tensor:
    """``V_k Λ_k^(-1/2)``, [width, k], from the lower triangle of a matrix, which is used up; columns of zeros where
    nothing varies.

    Bringing the matrix to three diagonals is nearly all of the work. It is done once, for the eigenvalues that say how
    many vectors count and for those vectors, where two calls of a complete routine would do it twice.
    """
    reduce, turn = get_lapack_funcs(("sytrd", "ormqr"), (gram,))
    width = len(gram)
    work = get_lapack_funcs("sytrd_lwork", (gram,))(width, lower=1)[0]
    reflectors, diagonal, beside, factors, _ = reduce(gram, lower=1, lwork=int(work), overwrite_a=1)
    energies = torch.from_numpy(eigvalsh_tridiagonal(diagonal, beside)[::-1].copy()).clamp(min=0)
    k = rank_of(energies, energy)
    vectors = eigh_tridiagonal(diagonal, beside, select="i", select_range=(width - k, width - 1))[1]
    if width > 1:  # the first row stays as it is
        given = reflectors[1:, :-1], factors, vectors[1:]
        work = turn("L", "N", *given, lwork=-1)[1][0]
        vectors[1:] = turn("L", "N", *given, lwork=int(work))[0]
    floor = energies[0] * 1e-12
    scale = torch.where(energies[:k] > floor, energies[:k].clamp(min=floor).rsqrt(), 0)
    return torch.from_numpy(vectors[:, ::-1].copy()) * scale
