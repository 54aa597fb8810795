"""The mean correlation of a row with all others of its group, in three readings of the features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from selectmm.methods.blocks import blocks

Centering = Literal["corpus_mean", "per_vector", "none"]

BLOCK = 512  # features held at a time: a few megabytes, so that what follows the read finds them in the cache


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
    for some, number, block in pairs.blocks():
        lengths = block.norm(dim=1) if shifts is None else None
        block = centred(block, number)
        norms = block.norm(dim=1)
        least = 1e-12 if block.dtype == torch.float64 else 1e-6  # of a feature's length; else only rounding is left
        if lengths is None:
            real = _real(pairs, some, norms, shifts[number], least)
        else:
            real = norms > least * lengths
        scale[some] = torch.where(real, 1 / norms, 0).double()
        sums[number] += (pairs.count[some] * scale[some]).to(block.dtype) @ block
    scores = torch.zeros_like(scale)
    for some, number, block in pairs.blocks():
        dots = centred(block, number) @ sums[number].to(block.dtype) * scale[some] - (scale[some] > 0).double()
        scores[some] = dots / max(float(pairs.sizes[number]) - 1, 1)
    return scores.numpy()[pairs.of_row]


def _real(pairs: "_Pairs", some: torch.Tensor, norms: torch.Tensor, shift: float, least: float) -> torch.Tensor:
    """Whether ``norms`` of centred features are above ``least`` of their lengths before; [some] of bool.

    A feature was at most as long as its norm and the shift together, which settles it for nearly all without a look at
    them as they were; the others are read again.
    """
    real = norms > 2 * least * (norms + shift)
    if not real.all():
        unsure = (~real).nonzero().flatten()
        real[unsure] = norms[unsure] > least * pairs.lengths(some[unsure], norms.dtype)
    return real


def _centring(
    pairs: "_Pairs", centering: Centering
) -> tuple[Callable[[torch.Tensor, int], torch.Tensor], list[float] | None]:
    """What centres a block of features of a group, in place; and how far it shifts those of each group.

    The latter is None where each feature is shifted by its own mean.
    """
    if centering == "none":
        return lambda block, _number: block, [0.0] * len(pairs.sizes)
    if centering == "per_vector":
        return lambda block, _number: block.sub_(block.mean(1, keepdim=True)), None
    means = torch.zeros(len(pairs.sizes), pairs.values.shape[1], dtype=torch.float64)
    for some, number, block in pairs.blocks():
        means[number] += pairs.count[some].to(block.dtype) @ block
    means /= pairs.sizes
    return lambda block, number: block.sub_(means[number].to(block.dtype)), means.norm(dim=1).tolist()


@dataclass(frozen=True)
class _Pairs:
    """The distinct (unit, group) pairs of rows, by unit: what is computed once for all rows that share it.

    Attributes:
        unit, group, count: of each pair, [pairs] of int64. of_row: the pair of each row, [rows]. sizes: rows per
            group, [groups, 1].
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
        return cls(values, keys // groups, keys % groups, torch.from_numpy(count), of_row, sizes)

    def lengths(self, pairs: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """Lengths of the features of the pairs at these positions, as they are; [pairs]."""
        return torch.from_numpy(self.values[self.unit[pairs.numpy()]]).to(dtype).norm(dim=1)

    def blocks(self) -> Iterator[tuple[torch.Tensor, int, torch.Tensor]]:
        """Positions of pairs of one group, the group, and their features, read from the first unit to the last."""
        for part, block in blocks(self.values, self.unit, BLOCK):
            groups = torch.from_numpy(self.group[part])
            for number in groups.unique().tolist():
                own = (groups == number).nonzero().flatten()
                yield own + part.start, number, block if len(own) == len(block) else block[own]
