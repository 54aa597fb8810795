"""What a run can have measured: shares, counts, times and scores of a record that may come from elsewhere."""

import re
from collections.abc import Iterator
from dataclasses import fields

from selectmm.cache.content import check_content as check_content  # methods/subset.py names it here
from selectmm.cache.reading import Mismatch
from selectmm.records.record import RunRecord

LARGEST = 1e15  # of a score or a cost; sums and squares of such numbers are still finite
MOST_FLOPS = 1e30  # of a stage; the largest model so far was trained with 1e27
SMALLEST = 1e-60  # of a score or a cost that is not zero; squares of ratios of such numbers are still above zero
ANSWERS = re.compile(r"answers/[\w.-]+\.jsonl\.gz")  # where answers lie, seen from the record


def check_values(record: RunRecord) -> None:
    """Shares are shares, counts are counts, time does not run backwards, a benchmark stands once.

    Raises:
        Mismatch: naming the first that is not so.
    """
    for good, fault in _statements(record):
        if not good:
            raise Mismatch(fault)


def _statements(record: RunRecord) -> Iterator[tuple[bool, str]]:
    # A list of rows may name some of them several times, so that a subset can be larger than its pool.
    yield 0 < record.budget <= LARGEST, f"field 'budget' is {record.budget:g}, not a share above 0"
    yield record.seed >= 0, f"field 'seed' is {record.seed}, below zero"
    rows, kept = record.pool.rows, record.subset.rows
    yield 0 < kept <= LARGEST and 0 < rows <= LARGEST, f"field 'subset.rows' is {kept}, of a pool of {rows} rows"
    yield from _counts(record)
    steps = record.recipe.steps
    yield 0 < steps <= LARGEST, f"field 'recipe.steps' is {steps}, so nothing was trained"
    for stage in fields(record.costs):
        cost = getattr(record.costs, stage.name)
        for value in (cost.seconds, cost.device_seconds, cost.peak_gib, cost.busy_seconds or 0.0):
            yield value >= 0 and _computable(value), f"field 'costs.{stage.name}' holds {value:g}"
        operations = cost.flops or 0.0
        yield 0 <= operations <= MOST_FLOPS, f"field 'costs.{stage.name}' holds {operations:g}"
    if record.answers is not None:
        file = record.answers.file
        yield ANSWERS.fullmatch(file) is not None, f"field 'answers.file' is {file:.60}, not a file in answers/"
    yield from _scores(record)
    yield from _on_the_way(record)


def _on_the_way(record: RunRecord) -> Iterator[tuple[bool, str]]:
    """Of a schedule's rounds and of the points of the curve."""
    for one in record.schedule.rounds if record.schedule else ():
        for count in (one.first, one.steps, one.scored, one.visits, one.distinct, one.fresh, one.overlap):
            yield 0 <= count <= LARGEST, f"field 'schedule.rounds' holds {count}"
    known = record.suite.evaluator
    for point in record.curve:
        yield 0 < point.step < record.recipe.steps, f"field 'curve' holds step {point.step} of {record.recipe.steps}"
        for name, value in point.scores.items():
            yield (
                name in known,
                f"benchmark '{name:.40}' has a score in 'curve', but suite.evaluator does not describe it",
            )
            yield _computable(value), f"field 'curve' holds {value:g}"
    spent = [
        cost for one in (record.schedule.rounds if record.schedule else ()) for cost in (one.selection, one.tuning)
    ]
    for cost in [*spent, *(cost for point in record.curve for cost in (point.selection, point.tuning))]:
        yield cost >= 0 and _computable(cost), f"field 'schedule' or 'curve' holds a cost of {cost:g}"


def _counts(record: RunRecord) -> Iterator[tuple[bool, str]]:
    coverage = record.subset.coverage
    most = record.pool.rows
    for name in ("rows", "scored", "without_image", "kept_distinct"):
        value = getattr(coverage, name)
        yield 0 <= value <= most, f"field 'subset.coverage.{name}' is {value}, of a pool of {most} rows"
    total = record.subset.rows
    yield 0 <= coverage.kept <= total, f"field 'subset.coverage.kept' is {coverage.kept}, of {total} rows of the subset"
    for source, count in record.pool.per_source.items():
        yield 0 <= count <= most, f"field 'pool.per_source.{source:.40}' is {count}, of a pool of {most} rows"
    for source, counts in coverage.per_source.items():
        for entry in fields(counts):
            value, where = getattr(counts, entry.name), f"subset.coverage.per_source.{source:.40}.{entry.name}"
            limit = max(most, total) if entry.name == "kept" else most
            yield 0 <= value <= limit, f"field '{where}' is {value}, of a pool of {most} rows"
    sources = coverage.per_source.values()
    for name, total, where in (("pool", most, "pool.rows"), ("kept", record.subset.rows, "subset.rows")):
        found = sum(getattr(counts, name) for counts in sources)
        fault = f"field 'subset.coverage.per_source' has {found} rows in '{name}' of all sources"
        yield not sources or found == total, f"{fault}, but '{where}' is {total}"
    for why, count in coverage.excluded.items():
        # Also lines of a list that are not in the pool, which may be more than it has.
        yield 0 <= count <= LARGEST, f"field 'subset.coverage.excluded.{why:.40}' is {count}"
    for benchmark, found in (record.contamination or {}).items():
        items = found.get("items", 0)
        yield 0 <= items <= LARGEST, f"field 'contamination.{benchmark:.40}.items' is {items}"
        for name, value in found.items():
            where = f"contamination.{benchmark:.40}.{name:.40}"
            yield 0 <= value <= items, f"field '{where}' is {value}, of {items} items"


def _scores(record: RunRecord) -> Iterator[tuple[bool, str]]:
    names = [score.benchmark for score in record.scores]
    for score in record.scores:
        name = f"benchmark '{score.benchmark:.40}'"
        yield names.count(score.benchmark) == 1, f"{name} has two scores"
        yield score.benchmark in record.suite.evaluator, f"{name} has a score, but suite.evaluator does not describe it"
        yield 0 < score.items <= LARGEST, f"{name} has {score.items} items"
        stderr = score.stderr or 0.0
        yield 0 <= stderr <= LARGEST, f"{name} has a standard error of {stderr:g}"
        for value in (score.value, score.chance or 0.0, score.majority or 0.0):
            yield _computable(value), f"{name} has a value of {value:g}"


def _computable(value: float) -> bool:
    return value == 0 or SMALLEST <= abs(value) <= LARGEST
