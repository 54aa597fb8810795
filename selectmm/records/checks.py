"""What no run can have measured: a record that holds it is damaged or made up."""

from collections.abc import Iterator
from dataclasses import fields
from math import isfinite
from typing import TYPE_CHECKING

from selectmm.records.reading import Mismatch

if TYPE_CHECKING:
    from selectmm.records.record import RunRecord

LARGEST = 1e15  # of a score or a cost; sums and squares of such numbers are still finite


def check_finite(content: object) -> None:
    """Every number of parsed JSON is a number: Python reads NaN, Infinity and 1e999 as JSON too.

    Raises:
        Mismatch: naming the first that is none.
    """
    for where, value in _floats(content, ""):
        if not isfinite(value):
            raise Mismatch(f"field '{where}' is {value}, which nothing measures")


def check_values(record: "RunRecord") -> None:
    """Shares are shares, counts are counts, time does not run backwards, a benchmark stands once.

    Raises:
        Mismatch: naming the first that is not so.
    """
    for good, told in _statements(record):
        if not good:
            raise Mismatch(told)


def _statements(record: "RunRecord") -> Iterator[tuple[bool, str]]:
    yield 0 < record.budget <= 1, f"field 'budget' is {record.budget:g}, not a share in (0, 1]"
    rows, kept = record.pool.rows, record.subset.rows
    yield 0 < kept <= rows, f"field 'subset.rows' is {kept}, of a pool of {rows} rows"
    yield record.recipe.steps > 0, f"field 'recipe.steps' is {record.recipe.steps}, so nothing was trained"
    for stage in fields(record.costs):
        cost = getattr(record.costs, stage.name)
        for value in (cost.seconds, cost.device_seconds, cost.peak_gib):
            yield 0 <= value <= LARGEST, f"field 'costs.{stage.name}' holds {value:g}"
    names = [score.benchmark for score in record.scores]
    for score in record.scores:
        name = f"benchmark '{score.benchmark:.40}'"
        yield names.count(score.benchmark) == 1, f"{name} has two scores"
        yield score.items > 0, f"{name} has {score.items} items"
        stderr = score.stderr or 0.0
        yield 0 <= stderr <= LARGEST, f"{name} has a standard error of {stderr:g}"
        for value in (score.value, score.chance or 0.0, score.majority or 0.0):
            yield abs(value) <= LARGEST, f"{name} has a value of {value:g}"


def _floats(content: object, where: str) -> Iterator[tuple[str, float]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _floats(value, f"{where}.{key}" if where else str(key))
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from _floats(value, f"{where}[{index}]")
    elif isinstance(content, float):
        yield where, content
