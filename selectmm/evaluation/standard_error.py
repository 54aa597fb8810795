"""Standard errors over items."""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np

DRAWS = 1000  # enough for two digits of a standard error
ROUNDED = 1e-3  # MMMU's aggregation rounds its mean, in per cent to three digits


def standard_error(
    parts: Sequence[float] | None,
    value: float,
    rng: np.random.Generator,
    again: Callable[[np.ndarray], float] | None = None,
    strata: Sequence[object] | None = None,
    clusters: Sequence[object] | None = None,
) -> float | None:
    """The standard error of ``value``.

    Args:
        parts: what each unit (an item, or items that count as one) scores by itself, in the unit of ``value``; None
            where the metric is not a property of single units.
        value: the benchmark's value over all units.
        rng: draws the bootstrap's samples.
        again: the value over a sample of units, given by their indices; for the bootstrap.
        strata: a label per unit; the bootstrap draws within each label, because MME adds up categories, and a category
            that is not drawn would take its points away.
        clusters: a label per unit; units of one label (POPE asks many questions about one picture) are not independent
            and are drawn together. None: each unit by itself.

    Returns:
        Where the value is the mean of its parts, the error of a mean over clusters (sd/√n for single units); else the
        sd of ``DRAWS`` bootstrap values; None for fewer than two clusters, or where the task has no aggregation to
        repeat.
    """
    if parts is None:
        return None
    groups = _groups(len(parts), strata, clusters)
    count = sum(len(group) for group in groups)
    if count < 2:
        return None
    if abs(float(np.mean(parts)) - value) < ROUNDED:
        apart = np.asarray(parts) - np.mean(parts)
        squares = sum(apart[members].sum() ** 2 for group in groups for members in group)
        return sqrt(count / (count - 1) * squares) / len(parts)
    if again is None:
        return None
    return float(np.std([again(_drawn(groups, rng)) for _ in range(DRAWS)], ddof=1))


def _groups(units: int, strata: Sequence[object] | None, clusters: Sequence[object] | None) -> list[list[np.ndarray]]:
    """By stratum its clusters, each the indices of its units."""
    found: dict[str, dict[object, list[int]]] = {}
    for unit in range(units):
        stratum = "" if strata is None else str(strata[unit])
        found.setdefault(stratum, {}).setdefault(unit if clusters is None else clusters[unit], []).append(unit)
    return [[np.array(members) for members in found[stratum].values()] for stratum in sorted(found)]


def _drawn(groups: Sequence[Sequence[np.ndarray]], rng: np.random.Generator) -> np.ndarray:
    """The units of as many clusters as there are, drawn with replacement within each stratum."""
    return np.concatenate([group[place] for group in groups for place in rng.choice(len(group), len(group))])
