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
) -> float | None:
    """The standard error of ``value``.

    Args:
        parts: what each independent unit (an item, or items that belong together) scores by itself, in the unit of
            ``value``; None where the metric is not a property of single units.
        value: the benchmark's value over all units.
        rng: draws the bootstrap's samples.
        again: the value over a sample of units, given by their indices; for the bootstrap.
        strata: a label per unit; the bootstrap draws within each label, because MME adds up categories, and a category
            that is not drawn would take its points away.

    Returns:
        sd/√n where the value is the mean of its parts; else the sd of ``DRAWS`` bootstrap values; None for fewer than
        two units, or where the task has no aggregation to repeat.
    """
    if parts is None or len(parts) < 2:
        return None
    if abs(float(np.mean(parts)) - value) < ROUNDED:
        return float(np.std(parts, ddof=1)) / sqrt(len(parts))
    if again is None:
        return None
    labels = [str(label) for label in strata] if strata is not None else [""] * len(parts)
    groups = [np.flatnonzero(np.asarray(labels) == label) for label in sorted(set(labels))]
    draws = (np.concatenate([rng.choice(group, len(group)) for group in groups]) for _ in range(DRAWS))
    return float(np.std([again(drawn) for drawn in draws], ddof=1))
