"""The mean correlation of a row with all others of its group, in three readings of the features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

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
    means = pairs.summed(lambda block, _number: block) / pairs.sizes if centering == "corpus_mean" else None

    def centred(block: torch.Tensor, number: int) -> torch.Tensor:
        """Unit vectors, or zeros where nothing but rounding is left."""
        lengths = block.norm(dim=1, keepdim=True)
        if means is not None:
            block = block - means[number].to(block.dtype)
        elif centering == "per_vector":
            block = block - block.mean(1, keepdim=True)
        norms = block.norm(dim=1, keepdim=True)
        real = norms > (1e-12 if block.dtype == torch.float64 else 1e-6) * lengths
        return torch.where(real, block / norms, 0)

    sums = pairs.summed(centred)
    scores = np.empty(len(pairs.unit))
    for some, number, block in pairs.blocks():
        g = centred(block, number)
        dots = g @ sums[number].to(g.dtype) - g.square().sum(1)
        scores[some] = dots.double().numpy() / max(float(pairs.sizes[number]) - 1, 1)
    return scores[pairs.of_row]


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

    def blocks(self) -> Iterator[tuple[np.ndarray, int, torch.Tensor]]:
        """Positions of pairs of one group, the group, and their features, read from the first unit to the last."""
        kind = np.float64 if self.values.dtype == np.float64 else np.float32
        for start in range(0, len(self.values), BLOCK):
            first, last = np.searchsorted(self.unit, [start, start + BLOCK])
            if first == last:
                continue
            block = torch.from_numpy(np.array(self.values[start : start + BLOCK], kind))
            for number in np.unique(self.group[first:last]).tolist():
                some = first + np.flatnonzero(self.group[first:last] == number)
                units = self.unit[some] - start
                whole = len(units) == len(block)
                yield some, number, block if whole else block[torch.from_numpy(units)]

    def summed(self, made: Callable[[torch.Tensor, int], torch.Tensor]) -> torch.Tensor:
        """Sum over the rows of each group of what ``made`` makes of their features; [groups, width] of float64."""
        sums = torch.zeros(len(self.sizes), self.values.shape[1], dtype=torch.float64)
        for some, number, block in self.blocks():
            vectors = made(block, number)
            sums[number] += self.count[some].to(vectors.dtype) @ vectors
        return sums
