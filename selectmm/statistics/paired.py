"""Two models on the same items: interval and test of their difference, and what remains of many tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap

from selectmm.statistics.tally import Tally

ALPHA = 0.05  # level of significance
RESAMPLES = 9_999  # a two-sided p of 0.0002 can still be seen
BATCH = 20_000_000  # numbers held at a time


@dataclass(frozen=True)
class Difference:
    """First minus second, in the table's unit: 95 % bounds, and the two-sided p of no difference."""

    value: float
    low: float
    high: float
    p: float


def paired_bootstrap(first: Tally, second: Tally, rng: np.random.Generator) -> Difference | None:
    """Percentile bootstrap of the difference; both models are scored on the same drawn clusters, within strata.

    p is twice the share of draws on the far side of zero, ties included, with one draw added to either count so that
    it is never zero. None if no stratum has two clusters: nothing can then be drawn.
    """
    strata = np.asarray(first.strata)
    groups = [np.flatnonzero(strata == name) for name in dict.fromkeys(first.strata)]
    drawn = [group for group in groups if len(group) > 1]
    if not drawn:
        return None
    alone = np.concatenate([np.empty(0, int), *(group for group in groups if len(group) == 1)])

    def difference(*samples: np.ndarray, axis: int) -> np.ndarray:
        """First minus second, [draws], for the clusters [draws, size] drawn of each stratum."""
        values = []
        for side in (first, second):
            sums = sum(side.sums[sample].sum(axis=-2) for sample in samples) + side.sums[alone].sum(axis=0)
            values.append(side.value(sums))
        return values[0] - values[1]

    batch = max(1, BATCH // (len(strata) * first.sums.shape[1]))
    found = bootstrap(
        drawn, difference, n_resamples=RESAMPLES, batch=batch, vectorized=True, axis=-1, method="percentile", rng=rng
    )
    draws, bounds = found.bootstrap_distribution, found.confidence_interval
    p = min(1.0, 2 * (1 + min((draws <= 0).sum(), (draws >= 0).sum())) / (RESAMPLES + 1))
    return Difference(first.total - second.total, float(bounds.low), float(bounds.high), float(p))


def jackknife(without_each: np.ndarray, strata: Sequence[str]) -> float:
    """Variance of a statistic from its values without each cluster in turn, [clusters]; for a mean it is s²/n, exactly.

    Clusters are drawn within strata; a stratum of one cluster says nothing and counts as nothing.
    Source: B. Efron and C. Stein, "The jackknife estimate of variance", 1981; for strata C. F. J. Wu, 1986, § 9.
    """
    return float(np.square(jackknife_deviations(without_each, strata)).sum())


def jackknife_deviations(without_each: np.ndarray, strata: Sequence[str]) -> np.ndarray:
    """What each cluster adds to `jackknife`, before it is squared, [clusters].

    Those of two statistics of the same clusters, multiplied and added up, are the jackknife's covariance.
    """
    names = np.asarray(strata)
    moved = np.zeros(len(without_each))
    for name in dict.fromkeys(strata):
        part = without_each[names == name]
        moved[names == name] = np.sqrt((len(part) - 1) / len(part)) * (part - part.mean())
    return moved


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """McNemar's exact two-sided p for two models that are each right or wrong on the same items, [items] of bool.

    Only items on which one of them is right count; without a difference each of these goes either way with one half.
    Items are taken as independent, which items of one picture are not: use `paired_bootstrap` for those.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p values, in the given order: below 0.05 with at most 5 % chance of any false alarm among all.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(np.asarray(p, float)[order] * np.arange(len(p), 0, -1))
    found = np.empty(len(p))
    found[order] = np.minimum(adjusted, 1.0)
    return found.tolist()
