"""Runs to rows: one per method, budget and recipe, over seeds."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from statistics import fmean, stdev
from typing import Any

from selectmm.errors import UserError
from selectmm.records.groups import LENGTHS, recipe_of
from selectmm.records.record import RunRecord
from selectmm.report.references import Reference, References
from selectmm.report.relative import ONE_SIDED_95, Outcome, above_chance, is_full, longest, outcome
from selectmm.statistics.tally import Tally

Tallies = Mapping[str, Mapping[str, Tally]]  # of a run's kept answers: by the record's name, by benchmark


@dataclass(frozen=True)
class Estimate:
    """A quantity over seeds: mean, standard deviation (None for one seed), number of seeds."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Estimate | None":
        """The estimate of some values; None if there are none, or one of them is unknown."""
        known = [value for value in values if value is not None]
        if not known or len(known) < len(values):
            return None
        return cls(fmean(known), stdev(known) if len(known) > 1 else None, len(known))


def format_estimate(estimate: Estimate | None, digits: int, unknown: str) -> str:
    """The estimate as ``mean ± sd (n)``, or the value alone where n is 1."""
    if estimate is None:
        return unknown
    spread = "" if estimate.sd is None else f" ± {estimate.sd:.{digits}f} ({estimate.n})"
    return f"{estimate.mean:.{digits}f}{spread}"


@dataclass(frozen=True)
class Row:
    """A method at a budget under a recipe; one outcome per seed, by seed.

    ``options`` tells variants of one method apart and is empty where there is only one. ``recipe`` is its name, and how
    long it trains where recipes of one name differ in that.
    """

    method: str
    options: str
    budget: float
    recipe: str
    outcomes: tuple[Outcome, ...]

    @property
    def label(self) -> str:
        """Method and, if need be, options."""
        return f"{self.method} ({self.options})" if self.options else self.method

    @property
    def full(self) -> bool:
        """Whether this row is of the whole pool."""
        return is_full(self.outcomes[0].record)

    @cached_property  # as `rel` is: every pair of rows asks for that of all rows
    def trained(self) -> tuple[object, ...]:
        """What was trained on in each seed, and how long; by which schedule, if rows were chosen during training."""
        records = [outcome.record for outcome in self.outcomes]
        visits = [None if r.schedule is None else (r.schedule.name, r.schedule.fingerprint) for r in records]
        return tuple(
            (r.seed, r.subset.fingerprint, r.recipe.steps, *([seen] if seen else []))
            for r, seen in zip(records, visits, strict=True)
        )

    @property
    def run(self) -> tuple[object, ...]:
        """Rows that agree here are the same runs under two recipe names."""
        return self.label, self.budget, self.trained

    @property
    def length(self) -> str:
        """The recipe's length: ``epochs`` or ``steps``."""
        return str(self.outcomes[0].record.recipe.options.get("length", ""))

    def score(self, benchmark: str) -> Estimate | None:
        """The score over the seeds that measured it; n says how many did."""
        scores = [s.value for o in self.outcomes for s in o.record.scores if s.benchmark == benchmark]
        return Estimate.of(scores)

    @cached_property
    def rel(self) -> Estimate | None:
        """The `Rel.` over the seeds."""
        return Estimate.of([o.rel for o in self.outcomes])

    @property
    def share(self) -> Estimate | None:
        """Selection and tuning as a share of the full run's tuning."""
        return Estimate.of([o.share for o in self.outcomes])

    @property
    def osc(self) -> Estimate | None:
        """PRISM's cost score over the seeds."""
        return Estimate.of([o.osc for o in self.outcomes])

    @property
    def selection(self) -> float:
        """Mean device-seconds of features and selection."""
        return fmean(o.record.costs.selection for o in self.outcomes)

    @property
    def tuning(self) -> float:
        """Mean device-seconds of fine-tuning."""
        return fmean(o.record.costs.tuning for o in self.outcomes)

    @property
    def total(self) -> float:
        """Mean device-seconds of both."""
        return self.selection + self.tuning


@dataclass(frozen=True)
class Comparison:
    """Comparable runs as rows: recipe by recipe, full first, then random, then the others by name and budget.

    Attributes:
        benchmarks: in the suite's order. above: how clearly the full runs beat chance on each (see `above_chance`);
            empty without full runs.
        tallies: of the answers that are known; without them items cannot be paired.
        again: records of another experiment that are not among ``records``, because theirs has the same run, each with
            the record that counts.
        unlike: full runs that are not among ``records``, because another one of the same seed with other scores is,
            each with that one.
    """

    records: tuple[RunRecord, ...]
    benchmarks: tuple[str, ...]
    above: Mapping[str, float]
    rows: tuple[Row, ...]
    tallies: Tallies
    again: tuple[tuple[RunRecord, RunRecord], ...] = ()
    unlike: tuple[tuple[RunRecord, RunRecord], ...] = ()

    @cached_property
    def chance(self) -> frozenset[str]:
        """Benchmarks on which the full runs are not clearly above chance."""
        return frozenset(name for name, above in self.above.items() if above <= ONE_SIDED_95)

    @cached_property
    def counted(self) -> tuple[str, ...]:
        """Benchmarks that ``Rel.`` averages."""
        return tuple(name for name in self.benchmarks if name not in self.chance)

    @cached_property
    def fulls(self) -> tuple[RunRecord, ...]:
        """The records of full runs."""
        return tuple(record for record in self.records if is_full(record))

    @property
    def experiment(self) -> str:
        """The experiment that pictures name: that of the first method, as full runs may be another's."""
        return next((one for one in self.records if not is_full(one)), self.records[0]).experiment


def compare(records: Sequence[RunRecord], references: References, tallies: Tallies | None = None) -> Comparison:
    """Turn comparable records (see `selectmm.records.groups`) into rows.

    Args:
        tallies: as `selectmm.report.pairing.tallies_of` reads them; None if no answers are known.

    Raises:
        UserError: two records are of the same run, evaluated equally often, with other results, and not of full.
    """
    records, again, unlike = _once(records)
    benchmarks = tuple(dict.fromkeys(score.benchmark for record in records for score in record.scores))
    fulls = [record for record in records if is_full(record)]
    above = {name: _above(name, fulls, references) for name in benchmarks} if fulls else {}
    counted = [name for name in benchmarks if above.get(name, inf) > ONE_SIDED_95]
    grouped: dict[tuple[object, ...], list[RunRecord]] = {}
    for record in records:
        grouped.setdefault(_key(record), []).append(record)
    variants = _differing([(record.method.name, record.method.options) for record in records])
    lengths = _differing([(record.recipe.name, _length(record)) for record in records])
    rows = [_row([outcome(r, fulls, counted) for r in group], variants, lengths) for group in grouped.values()]
    return Comparison(tuple(records), benchmarks, above, tuple(sorted(rows, key=_order)), tallies or {}, again, unlike)


def _above(name: str, fulls: Sequence[RunRecord], references: References) -> float:
    once = {full.seed: full for full in longest(fulls)}.values()  # under both recipe lengths it is the same run
    scores = [score for full in once for score in full.scores if score.benchmark == name]
    return above_chance(scores, references.get(name, Reference())) if scores else inf


Pairs = tuple[tuple[RunRecord, RunRecord], ...]


def _once(records: Sequence[RunRecord]) -> tuple[list[RunRecord], Pairs, Pairs]:
    """A sweep over budgets meets the same full run at each of them, one over ``curve`` every run, and experiments share
    runs: the record with the most points is kept, the first of several. A repetition with other results is an error;
    of a full run, which experiments make again, it is left out and named.

    Returns:
        What is kept; what is not, with the record that counts: where that has the same results, and where it has not.
    """
    met: dict[tuple[object, ...], RunRecord] = {}
    kept: dict[tuple[object, ...], RunRecord] = {}
    again, unlike = [], []
    for record in records:
        key = (*_key(record), record.seed)
        first = met.setdefault((*key, record.evaluations or 1), record)
        same = _result(first) == _result(record)
        if not is_full(record) and not same:
            raise UserError(
                f"Records {first.name} and {record.name} are of the same run (same method, budget, recipe and seed) "
                f"and have different results; leave one of them out of the command."
            )
        if not same:
            unlike.append((record, first))
        elif first.experiment != record.experiment:
            again.append((record, first))
        if len(record.curve) > len(kept.setdefault(key, record).curve):
            kept[key] = record
    return list(kept.values()), tuple(again), tuple(unlike)


def _result(record: RunRecord) -> tuple[object, ...]:
    """What came out of a run, apart from its costs."""
    visits = None if record.schedule is None else record.schedule.fingerprint
    scores = {score.benchmark: score.value for score in record.scores}
    return record.subset.fingerprint, visits, record.recipe.steps, scores


def _key(record: RunRecord) -> tuple[object, ...]:
    budget = 1.0 if is_full(record) else record.budget
    return record.method.name, json.dumps(record.method.options, sort_keys=True), budget, *recipe_of(record)


def _length(record: RunRecord) -> dict[str, Any]:
    """How long its recipe trains."""
    return dict(zip(LENGTHS, recipe_of(record)[1:], strict=True))


def _differing(named: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, set[str]]:
    """By name (of a method, of a recipe), the options in which those of that name differ."""
    options: dict[str, list[Mapping[str, Any]]] = {}
    for name, its in named:
        options.setdefault(name, []).append(its)
    return {
        name: {key for key in set().union(*many) if any(one.get(key) != many[0].get(key) for one in many[1:])}
        for name, many in options.items()
    }


def _row(outcomes: list[Outcome], variants: Mapping[str, set[str]], lengths: Mapping[str, set[str]]) -> Row:
    record = outcomes[0].record
    recipe = record.recipe.name
    options = ", ".join(f"{k}={v}" for k, v in record.method.options.items() if k in variants[record.method.name])
    trained = ", ".join(f"{k}={v}" for k, v in _length(record).items() if k in lengths[recipe])
    budget = 1.0 if is_full(record) else record.budget
    recipe = f"{recipe} ({trained})" if trained else recipe
    return Row(record.method.name, options, budget, recipe, tuple(sorted(outcomes, key=_seed)))


def _seed(outcome: Outcome) -> int:
    return outcome.record.seed


def _order(row: Row) -> tuple[object, ...]:
    first = {"full": 0, "random": 1}.get(row.method, 2)
    return row.recipe, first, row.method, row.options, row.budget
