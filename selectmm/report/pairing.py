"""Two rows on the same items: the variance that the items leave in the difference of their ``Rel.``."""

from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path

import numpy as np

from selectmm.records.answers import load_answers
from selectmm.records.record import RunRecord
from selectmm.report.relative import full_of, mean_scores
from selectmm.report.rows import Comparison, Row, Tallies
from selectmm.report.shared_items import Deviations, deviations, material_of, of_all_items, variance_of_sum
from selectmm.statistics.compare import AGREES
from selectmm.statistics.paired import jackknife
from selectmm.statistics.tally import Tally, tally_of


def tallies_of(records: Iterable[tuple[Path, RunRecord]]) -> Tallies:
    """The tallies of those records that keep their answers, where the answers lie beside them.

    Args:
        records: with the files that they were read from.

    Raises:
        UserError: answers are there, but are not those that the record was written with.
    """
    return {record.name: _tallies(record, path) for path, record in records if _kept(record, path)}


def _kept(record: RunRecord, path: Path) -> bool:
    return record.answers is not None and (path.parent / record.answers.file).exists()


def _tallies(record: RunRecord, path: Path) -> dict[str, Tally]:
    found = {name: tally_of(record, name, many) for name, many in load_answers(record, path).items()}
    values = {score.benchmark: score.value for score in record.scores}
    return {name: one for name, one in found.items() if one is not None and abs(one.total - values[name]) <= AGREES}


def unpaired(row: Row, other: Row, comparison: Comparison) -> tuple[str, ...]:
    """The benchmarks on which the answers of the runs behind the rows, and of their full runs, cannot be compared."""
    return tuple(name for name in comparison.counted if not _aligned(_sides(row, other, comparison, name)))


def unkept(row: Row, other: Row, comparison: Comparison) -> bool:
    """Whether the answers of one of those runs are not known at all."""
    return any(record.name not in comparison.tallies for side in _runs(row, other, comparison) for record in side)


def item_variance(row: Row, other: Row | None, comparison: Comparison) -> float | None:
    """Variance over items of ``row``'s Rel. minus ``other``'s (of its own if that is None), in per cent squared.

    Per benchmark it is the jackknife's, of 100 · (mean of row's seeds − mean of other's) / mean of full's: an item that
    is hard for all of them says nothing about their difference. Items that several benchmarks share are left out of all
    of them at once (`selectmm.report.shared_items`). Where answers are missing, or the metric is no property of single
    items, it is the sum of both rows' own variances instead, which is larger for runs that err alike; None if one of
    these is not known either.
    """
    parts = [_moved(row, other, comparison, name) for name in comparison.counted]
    known = [part for part in parts if part is not None]
    return variance_of_sum(known) / len(parts) ** 2 if len(known) == len(parts) else None


def score_variance(row: Row, other: Row, comparison: Comparison, benchmark: str) -> float | None:
    """Variance over items of the difference of both rows' mean scores on one benchmark, in its unit squared.

    None if an error over items is not known.
    """
    sides = _sides(row, other, comparison, benchmark)[:2]
    if _aligned(sides):
        means = [np.mean([run.without_each for run in side], axis=0) for side in sides]
        return jackknife(means[0] - means[1], sides[0][0].strata)
    errors = [_errors(one, benchmark) for one in (row, other)]
    return sum(float(np.mean(np.square(some))) for some in errors if some) if all(errors) else None


def _moved(row: Row, other: Row | None, comparison: Comparison, benchmark: str) -> Deviations | None:
    """What each cluster moves a benchmark's part of the difference by; None if that, and an error, are unknown."""
    sides = _sides(row, other, comparison, benchmark)
    material = material_of(row.outcomes[0].record, benchmark)
    if not _aligned(sides):
        own = [_own(one, comparison, benchmark) for one in (row, other) if one is not None]
        return None if None in own else of_all_items(sqrt(sum(part for part in own if part is not None)), material)
    means = [np.mean([run.without_each for run in side], axis=0) for side in sides]
    apart = means[0] - means[1] if other is not None else means[0]
    return deviations(100 * apart / means[-1], sides[0][0], material)


def _sides(row: Row, other: Row | None, comparison: Comparison, benchmark: str) -> list[list[Tally | None]]:
    """The tallies of row's runs, of other's (if there is one) and of their full runs; None for a run without."""
    sides = _runs(row, other, comparison)
    return [[comparison.tallies.get(r.name, {}).get(benchmark) for r in side] for side in sides]


def _runs(row: Row, other: Row | None, comparison: Comparison) -> list[Sequence[RunRecord]]:
    sides = [[outcome.record for outcome in one.outcomes] for one in (row, other) if one is not None]
    return [*sides, full_of(row.outcomes[0].record, comparison.fulls)]


def _aligned(sides: list[list[Tally | None]]) -> bool:
    """All known, and of the same clusters in the same order.

    Where every stratum has one cluster alone, such as items that all show one picture, nothing follows from them.
    """
    runs = [run for side in sides for run in side]
    if None in runs or any(run.clusters is not runs[0].clusters and run.clusters != runs[0].clusters for run in runs):
        return False
    names = runs[0].strata
    return len(names) > len(set(names))


def _own(row: Row, comparison: Comparison, benchmark: str) -> float | None:
    """Variance of one row's Rel. by itself; seeds share the items, so it does not shrink with them."""
    full = mean_scores(full_of(row.outcomes[0].record, comparison.fulls))[benchmark]
    errors = _errors(row, benchmark)
    return float(np.mean([(100 * error / full) ** 2 for error in errors])) if errors else None


def _errors(row: Row, benchmark: str) -> list[float] | None:
    """The standard error over items of each seed's score; None if one is not known."""
    scores = [s for outcome in row.outcomes for s in outcome.record.scores if s.benchmark == benchmark]
    errors = [score.stderr for score in scores if score.stderr is not None]
    return errors if len(errors) == len(scores) else None
