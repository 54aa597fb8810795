"""Benchmarks that ask the same items: their errors are not independent, so the variance of a mean has covariances.

Held-out rows give four metrics of the same answers, ScienceQA contains its questions with images, and POPE's three
settings show the same pictures. Items are the same if they show the same picture or, of benchmarks with the same
material (items, targets and pictures, see `selectmm.records.record.Evaluated`), if they are the same item.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from selectmm.records.record import RunRecord
from selectmm.report.rows import Tallies
from selectmm.statistics.paired import jackknife_deviations
from selectmm.statistics.tally import ITEM, Tally

Deviations = Mapping[tuple[str, ...], float]
"""What each cluster of items moves a statistic by, by the cluster: the variance is the sum of squares."""


def deviations(without_each: np.ndarray, tally: Tally, material: str) -> Deviations:
    """The jackknife's, of a statistic's values without each of a tally's clusters in turn, [clusters].

    Args:
        material: names what the items without a picture are of: those of other material are others.
    """
    found: dict[tuple[str, ...], float] = defaultdict(float)
    moved = jackknife_deviations(without_each, tally.strata).tolist()
    for (stratum, label), by in zip(tally.clusters, moved, strict=True):
        found[(material, stratum, label) if label.startswith(ITEM) else (label,)] += by
    return found


def of_all_items(error: float, material: str) -> Deviations:
    """The variance of a statistic with a standard error, where one cluster holds all items of a material.

    Statistics of the same material are then taken to err alike, which is the most that they can.
    """
    return {("every item", material): error}


def variance_of_sum(parts: Iterable[Deviations]) -> float:
    """The variance of a sum of statistics: a cluster that is in several of them moves them together."""
    by_cluster: dict[tuple[str, ...], float] = defaultdict(float)
    for part in parts:
        for cluster, by in part.items():
            by_cluster[cluster] += by
    return sum(by**2 for by in by_cluster.values())


def material_of(record: RunRecord, benchmark: str) -> str:
    """The hash of a benchmark's items, targets and pictures; its name where the record has none."""
    entry = record.suite.evaluator.get(benchmark)
    return entry.material if entry is not None and entry.material else f"of {benchmark}"


def variance_of_errors(errors: Mapping[str, float], runs: Sequence[RunRecord], tallies: Tallies) -> float:
    """Variance over items of the sum of the benchmarks' scores, each times a factor.

    Args:
        errors: the standard error of each benchmark's score, times its factor, which is not negative.
        runs: whose scores they are. Their answers say how the errors of two benchmarks are correlated.
    """
    return variance_of_sum(_scaled(errors[name], _correlated(name, runs, tallies)) for name in errors)


def _correlated(benchmark: str, runs: Sequence[RunRecord], tallies: Tallies) -> Deviations:
    """Of the mean score of some runs; `of_all_items` where answers are missing, not of the same items, or all alike."""
    known = [tallies.get(run.name, {}).get(benchmark) for run in runs]
    found = [tally for tally in known if tally is not None]
    material = material_of(runs[0], benchmark)
    if len(found) < len(runs) or len({tally.clusters for tally in found}) > 1:
        return of_all_items(1.0, material)
    moved = deviations(np.mean([tally.without_each for tally in found], axis=0), found[0], material)
    return moved if any(moved.values()) else of_all_items(1.0, material)


def _scaled(error: float, moved: Deviations) -> Deviations:
    """Deviations in the same proportions, whose sum of squares is the error's."""
    total = sum(by**2 for by in moved.values()) ** 0.5
    return {cluster: error * by / total for cluster, by in moved.items()}
