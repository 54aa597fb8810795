"""A quantity over seeds with the half-width of its interval, where cells of a paper have to be met."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, variance

from selectmm.report.rows import Row
from selectmm.report.verdict import quantile


@dataclass(frozen=True)
class Measured:
    """A mean over ``n`` seeds, its standard error over items and seeds and half its 95 % interval.

    Both are None if an item error is unknown.
    """

    mean: float
    stderr: float | None
    margin: float | None
    n: int


def measured(row: Row, benchmark: str) -> Measured | None:
    """A row's score on a benchmark; None unless every seed has it."""
    scores = [s for outcome in row.outcomes for s in outcome.record.scores if s.benchmark == benchmark]
    return joined([s.value for s in scores], [s.stderr for s in scores]) if len(scores) == len(row.outcomes) else None


def joined(values: Sequence[float], errors: Sequence[float | None]) -> Measured:
    """The mean over seeds. They share the items, whose error therefore stays; the mean over seeds has its own.

    Args:
        errors: standard errors over items, one per value.
    """
    n, mean = len(values), fmean(values)
    if any(error is None for error in errors):
        return Measured(mean, None, None, n)
    items = fmean(error**2 for error in errors)
    seeds = variance(values) / n if n > 1 else 0.0
    stderr = sqrt(items + seeds)
    return Measured(mean, stderr, quantile(items + seeds, [(seeds, n - 1)]) * stderr, n)
