"""Relative performance, cost and OSC of a run, measured against our own full-data run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import copysign, hypot, inf
from statistics import fmean, stdev

from selectmm.evaluation.suite import Score
from selectmm.records.groups import recipe_of
from selectmm.records.record import RunRecord
from selectmm.report.references import Reference

ONE_SIDED_95 = 1.64  # standard errors

NO_FULL = (
    "these records hold no `full` run; run method=full with the same recipe or, if that was done, name its record too: "
    "selectmm report RECORD…"
)


@dataclass(frozen=True)
class Outcome:
    """A run seen against its full run.

    Attributes:
        rel: relative performance in per cent, None if unknown; ``why`` then says why, half a sentence.
        share: cost of selection and tuning in per cent of the full run's tuning, None if unknown.
        osc: PRISM's cost score (below 1: the method gains), None if unknown.
    """

    record: RunRecord
    rel: float | None
    share: float | None
    osc: float | None
    why: str = ""


def is_full(record: RunRecord) -> bool:
    """Whether the run trained on the whole pool as the reference."""
    return record.method.name == "full"


def scores_of(record: RunRecord) -> dict[str, float]:
    """Values by benchmark."""
    return {score.benchmark: score.value for score in record.scores}


def above_chance(full: Sequence[Score], reference: Reference) -> float:
    """The standard errors by which the full runs (one per seed) beat what needs no image and no learning.

    That floor is max(chance, majority, blind), 0 if none is known. The standard error joins that of the items, which
    seeds share, with that of the mean over seeds: ``sqrt(mean(stderr)² + sd²/n)``; an unknown part counts as zero, and
    without any what is above is infinitely far above. Up to `ONE_SIDED_95` a benchmark cannot tell models apart.
    """
    levels = [value for score in full for value in (score.chance, score.majority)]
    known = [reference.chance, reference.majority, reference.blind, *levels]
    floor = max((value for value in known if value is not None), default=0.0)
    values = [score.value for score in full]
    items = fmean([score.stderr or 0.0 for score in full])
    seeds = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return in_errors(fmean(values) - floor, hypot(items, seeds))


def in_errors(above: float, error: float) -> float:
    """A difference in standard errors; infinite where there is one and no error."""
    return above / error if error > 0 else copysign(inf, above) if above else 0.0


def relative(scores: Mapping[str, float], full: Mapping[str, float], benchmarks: Sequence[str]) -> float | None:
    """The ``Rel.`` in per cent: the unweighted mean over ``benchmarks`` of score / the full run's score.

    This is PRISM's and ICONS' definition (it gives all eleven values of ICONS' main table). None if a cell is missing
    on either side, the full run scored nothing, or there is no benchmark: a missing cell is never averaged over and
    never zero.
    """
    if not benchmarks or any(name not in scores or full.get(name, 0.0) <= 0 for name in benchmarks):
        return None
    return 100 * fmean(scores[name] / full[name] for name in benchmarks)


def osc(rel: float, selection: float, tuning: float, tuning_full: float) -> float:
    """PRISM's overall cost ``(P_full / P_sub) · (T_select + T_tune_sub) / T_tune_full``; a method gains below 1.

    Args:
        rel: P_sub in per cent of P_full, above 0.
        selection, tuning, tuning_full: device-seconds.
    """
    return (100 / rel) * (selection + tuning) / tuning_full


def longest(fulls: Sequence[RunRecord]) -> list[RunRecord]:
    """The full runs of the most steps: what is measured against, where full was also stopped early."""
    return [full for full in fulls if full.recipe.steps == max(other.recipe.steps for other in fulls)]


def full_of(record: RunRecord, fulls: Sequence[RunRecord]) -> list[RunRecord]:
    """The full runs that a run is measured against: those of all seeds, whose mean is the reference.

    Not that of its own seed alone: a seed draws other rows and another order for every method, so that pairs share
    nothing, and a ratio to one noisy run is larger on average than the ratio to the mean. Where full was also stopped
    early, only its longest training is the reference; under two recipe lengths that may be one and the same run, which
    counts once, and that of the record's own recipe is preferred.
    """
    candidates = longest(fulls)
    own = [full for full in candidates if full.recipe.name == record.recipe.name] or candidates
    return once_a_seed(sorted(own, key=lambda full: recipe_of(full) != recipe_of(record)))


def once_a_seed(fulls: Sequence[RunRecord]) -> list[RunRecord]:
    """The first of each seed: under several names or lengths of a recipe a full run of one seed is one run."""
    return list({full.seed: full for full in reversed(fulls)}.values())[::-1]


def outcome(record: RunRecord, fulls: Sequence[RunRecord], benchmarks: Sequence[str]) -> Outcome:
    """Measure a run against its full runs on the benchmarks that count for ``Rel.``."""
    against = full_of(record, fulls)
    if not against:
        return Outcome(record, None, None, None, NO_FULL)
    tuning_full = fmean(full.costs.tuning for full in against)
    selection, tuning = record.costs.selection, record.costs.tuning
    share = 100 * (selection + tuning) / tuning_full if tuning_full > 0 else None
    scores, reference = scores_of(record), mean_scores(against)
    rel = relative(scores, reference, benchmarks)
    if rel is None:
        return Outcome(record, None, share, None, _why(scores, reference, benchmarks))
    known = rel > 0 and tuning_full > 0
    return Outcome(record, rel, share, osc(rel, selection, tuning, tuning_full) if known else None)


def mean_scores(records: Sequence[RunRecord]) -> dict[str, float]:
    """Mean by benchmark over runs; a benchmark that one of them lacks is left out."""
    tables = [scores_of(record) for record in records]
    shared = [name for name in tables[0] if all(name in table for table in tables)] if tables else []
    return {name: fmean(table[name] for table in tables) for name in shared}


def _why(scores: Mapping[str, float], full: Mapping[str, float], benchmarks: Sequence[str]) -> str:
    if not benchmarks:
        return "every benchmark is at chance for the full run"
    for name in benchmarks:
        if name not in full:
            return f"a full run has no score on {name}"
        if full[name] <= 0:
            return f"the full run has no score above 0 on {name}"
        if name not in scores:
            return f"it has no score on {name}"
    raise AssertionError("nothing is missing")
