"""The mean correlation of a row with all others of its group, in three readings of the features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.linalg import vector_norm

from selectmm.methods.blocks import blocks, dtype_of

Centering = Literal["corpus_mean", "per_vector", "none"]
Groups = int | torch.Tensor
"""The group that all rows have, or each row's, [rows] of int64."""

BLOCK = 512  # features held at a time, at most
HELD = 2**17  # numbers held at a time: in single and half precision 0.75 MiB, which a core's second cache holds


def mean_correlation(values: np.ndarray, unit: np.ndarray, group: np.ndarray, centering: Centering) -> np.ndarray:
    """``R_i`` = mean over j ≠ i in i's group of ``g_i · g_j``, g the centred unit features; [rows] of float64.

    Linear in the number of rows: ``R_i = (g_i · S − g_i · g_i) / (n − 1)`` with ``S = Σ_j g_j``; no n × n matrix is
    built, and no more than a block of features is in memory. A feature that centring turns into zero correlates with
    nothing (0); a row alone in its group scores 0.

    Args:
        values: [units, width] of float, may be memory-mapped; float64 is computed in float64, all else in float32.
        unit: the unit that each row shows, [rows] of int (rows may share one).
        group: the group of each row, [rows] of int from 0.
        centering: ``corpus_mean`` subtracts the group's mean feature, ``per_vector`` each feature's own mean over its
            channels, ``none`` nothing.
    """
    pairs = _Pairs.of(values, unit, group)
    centred, shifts = _centring(pairs, centering)
    scale = torch.zeros(len(pairs.unit), dtype=torch.float64)  # of each centred feature to length 1, or to nothing
    sums = torch.zeros(len(pairs.sizes), values.shape[1], dtype=torch.float64)
    least = 1e-12 if pairs.dtype == torch.float64 else 1e-6  # of a feature's length; below it only rounding is left
    for some, own, block in pairs.blocks():
        lengths = vector_norm(block, dim=1) if shifts is None else None
        block = centred(block, own)
        norms = vector_norm(block, dim=1)
        if lengths is None:
            real = _real(pairs, some, norms, shifts[own], least)
        else:
            real = norms > least * lengths
        inverse = torch.where(real, 1 / norms, 0)
        scale[some] = inverse
        _add(sums, own, pairs.count[some] * inverse, block)
    dots, toward = torch.zeros_like(scale), sums.to(pairs.dtype)
    for some, own, block in pairs.blocks():
        dots[some] = _dots(centred(block, own), toward[own])
    others = (pairs.sizes.squeeze(1) - 1).clamp(min=1).double()
    scores = (dots * scale - (scale > 0).double()) / others[torch.from_numpy(pairs.group)]
    return scores.numpy()[pairs.of_row]


def _add(sums: torch.Tensor, own: Groups, weights: torch.Tensor, block: torch.Tensor) -> None:
    """Add each feature of a block, times its weight, to the sum of its group; the block is used up."""
    if isinstance(own, int):
        sums[own].add_(weights @ block)
    else:
        sums.index_add_(0, own, block.mul_(weights.unsqueeze(1)).double())


def _dots(block: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Each feature times ``other``, which is one vector or one for each; [n]."""
    return block @ other if other.ndim == 1 else block.mul_(other).sum(1)


def _real(pairs: "_Pairs", some: slice, norms: torch.Tensor, shifts: torch.Tensor, least: float) -> torch.Tensor:
    """Whether ``norms`` of centred features are above ``least`` of their lengths before; [some] of bool.

    A feature was at most as long as its norm and the shift together, which settles it for nearly all without a look at
    them as they were; the others are read again.
    """
    real = norms > 2 * least * (norms + shifts)
    if not real.all():
        unsure = (~real).nonzero().flatten()
        real[unsure] = norms[unsure] > least * pairs.lengths(some.start + unsure)
    return real


def _centring(
    pairs: "_Pairs", centering: Centering
) -> tuple[Callable[[torch.Tensor, Groups], torch.Tensor], torch.Tensor | None]:
    """What centres a block of features, in place; and how far it shifts those of each group, [groups].

    The latter is None where each feature is shifted by its own mean.
    """
    if centering == "none":
        return lambda block, _own: block, torch.zeros(len(pairs.sizes))
    if centering == "per_vector":
        return lambda block, _own: block.sub_(block.mean(1, keepdim=True)), None
    means = torch.zeros(len(pairs.sizes), pairs.values.shape[1], dtype=torch.float64)
    for some, own, block in pairs.blocks():
        _add(means, own, pairs.count[some], block)
    means /= pairs.sizes
    rounded = means.to(pairs.dtype)
    return lambda block, own: block.sub_(rounded[own]), means.norm(dim=1)


@dataclass(frozen=True)
class _Pairs:
    """The distinct (unit, group) pairs of rows, by unit: what is computed once for all rows that share it.

    Attributes:
        unit, group: of each pair, [pairs] of int64. count: its rows, [pairs] of `dtype`. of_row: the pair of each row,
            [rows]. sizes: rows per group, [groups, 1].
    """

    values: np.ndarray
    unit: np.ndarray
    group: np.ndarray
    count: torch.Tensor
    of_row: np.ndarray
    sizes: torch.Tensor

    @classmethod
    def of(cls, values: np.ndarray, unit: np.ndarray, group: np.ndarray) -> "_Pairs":
        groups = int(group.max()) + 1
        keys, of_row, count = np.unique(unit * groups + group, return_inverse=True, return_counts=True)
        sizes = torch.from_numpy(np.bincount(group, minlength=groups)).unsqueeze(1)
        counted = torch.from_numpy(count).to(dtype_of(values))
        return cls(values, keys // groups, keys % groups, counted, of_row, sizes)

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return dtype_of(self.values)

    def lengths(self, pairs: torch.Tensor) -> torch.Tensor:
        """Lengths of the features of the pairs at these positions, as they are; [pairs]."""
        return torch.from_numpy(self.values[self.unit[pairs.numpy()]]).to(self.dtype).norm(dim=1)

    def blocks(self) -> Iterator[tuple[slice, Groups, torch.Tensor]]:
        """The part of the pairs, their group (of each, if they have several), and their features, from the first unit
        to the last."""
        held = HELD if len(self.sizes) == 1 else 4 * HELD  # operations on rows of many groups take longer to start
        size = max(1, min(BLOCK, held // self.values.shape[1]))
        for part, block in blocks(self.values, self.unit, size):
            group = self.group[part]
            yield part, int(group[0]) if (group == group[0]).all() else torch.from_numpy(group), block
