"""What a file from elsewhere may hold: text that can be shown, numbers, and what a run can have measured."""

import re
from collections.abc import Iterator
from dataclasses import fields
from math import isfinite

from selectmm.printable import printable, showable
from selectmm.records.reading import Mismatch, named
from selectmm.records.record import RunRecord

LARGEST = 1e15  # of a score or a cost; sums and squares of such numbers are still finite
MOST_FLOPS = 1e30  # of a stage; the largest model so far was trained with 1e27
SMALLEST = 1e-9  # of a score or a cost that is not zero; so are their ratios
WHOLE = 2**64  # of a whole number: the range of a seed
LONGEST = 100_000  # characters of one text
ANSWERS = re.compile(r"answers/[\w.-]+\.jsonl\.gz")  # where answers lie, seen from the record
DEEPEST = 32  # levels of lists and objects


def check_content(content: object) -> None:
    """Parsed JSON holds only text that can be shown, and numbers that can be computed with.

    Python reads NaN, Infinity, 1e999, numbers of thousands of digits and lone surrogates as JSON too.

    Raises:
        Mismatch: naming the first value that is not so.
    """
    for where, value in _leaves(content, "", 0):
        if isinstance(value, str):
            _check_text(value, where)
        elif isinstance(value, float) and not isfinite(value):
            raise Mismatch(f"field '{where}' is {value}, which nothing measures")
        elif isinstance(value, int) and abs(value) >= WHOLE:
            raise Mismatch(f"field '{where}' is a number of {len(str(abs(value)))} digits, which nothing counts")


def _check_text(text: str, where: str) -> None:
    if len(text) > LONGEST:
        raise Mismatch(f"field '{where}' is a text of {len(text):,} characters; at most {LONGEST:,} are read")
    if not text.isprintable() and (strange := next((c for c in text if not showable(c)), None)):
        raise Mismatch(f"field '{where}' holds the character {strange!a}, which is no text")


def shown(content: object) -> object:
    """The same JSON with every text such as `check_content` lets pass: what is not showable is written as an escape.

    The middle of a text that is too long is left out.
    """
    if isinstance(content, dict):
        return {_shown(str(key)): shown(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [shown(value) for value in content]
    return _shown(content) if isinstance(content, str) else content


def _shown(text: str) -> str:
    text = printable(text)
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 1]}…{text[-half:]}"


def check_values(record: RunRecord) -> None:
    """Shares are shares, counts are counts, time does not run backwards, a benchmark stands once.

    Raises:
        Mismatch: naming the first that is not so.
    """
    for good, told in _statements(record):
        if not good:
            raise Mismatch(told)


def _statements(record: RunRecord) -> Iterator[tuple[bool, str]]:
    yield 0 < record.budget <= 1, f"field 'budget' is {record.budget:g}, not a share in (0, 1]"
    yield record.seed >= 0, f"field 'seed' is {record.seed}, below zero"
    rows, kept = record.pool.rows, record.subset.rows
    yield 0 < kept <= rows <= LARGEST, f"field 'subset.rows' is {kept}, of a pool of {rows} rows"
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
    for name in ("rows", "scored", "without_image", "kept", "kept_distinct"):
        value = getattr(coverage, name)
        yield 0 <= value <= most, f"field 'subset.coverage.{name}' is {value}, of a pool of {most} rows"
    for source, count in record.pool.per_source.items():
        yield 0 <= count <= most, f"field 'pool.per_source.{source:.40}' is {count}, of a pool of {most} rows"
    for source, counts in coverage.per_source.items():
        for entry in fields(counts):
            value, where = getattr(counts, entry.name), f"subset.coverage.per_source.{source:.40}.{entry.name}"
            yield 0 <= value <= most, f"field '{where}' is {value}, of a pool of {most} rows"
    for why, count in coverage.excluded.items():
        yield 0 <= count <= most, f"field 'subset.coverage.excluded.{why:.40}' is {count}, of a pool of {most} rows"


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


def _leaves(content: object, where: str, depth: int) -> Iterator[tuple[str, object]]:
    """Texts (keys too) and numbers, with their dotted paths."""
    if depth > DEEPEST:
        raise Mismatch(f"field '{where:.60}…' is nested more than {DEEPEST} levels deep")
    if isinstance(content, dict):
        for key, value in content.items():
            place = f"{where}.{named(key)}" if where else named(key)
            yield place, key
            yield from _leaves(value, place, depth + 1)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _leaves(value, f"{where}[{index}]", depth + 1)
    else:
        yield where, content
