"""Two runs, benchmark by benchmark, on the same items: by how much they differ, and whether that is noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selectmm.errors import UserError
from selectmm.evaluation.outcome import Answer
from selectmm.records.answers import load_answers
from selectmm.records.files import load
from selectmm.records.groups import LENGTHS, conditions
from selectmm.records.record import RunRecord
from selectmm.statistics.paired import ALPHA, Difference, holm, mcnemar, paired_bootstrap
from selectmm.statistics.tally import Tally, tally_of

SEED = 0  # of the bootstrap: the same two records give the same page
AGREES = 0.01  # a recorded value and the one that follows from its answers; MMMU's code rounds to three digits


@dataclass(frozen=True)
class Line:
    """One benchmark of both runs, in the table's unit.

    Attributes:
        difference: first minus second; None if it cannot be tested item by item, ``why`` then says why.
        p: of no difference: McNemar's where ``exact``, else the bootstrap's. McNemar's takes units as independent, so
            it is not asked where two of them show one picture: its p would be too small for Holm's correction.
        adjusted: p after Holm's correction over all benchmarks that were tested.
        clusters: independent pieces, an image with all its items being one.
    """

    benchmark: str
    first: float
    second: float
    items: int
    clusters: int = 0
    difference: Difference | None = None
    p: float | None = None
    exact: bool = False
    adjusted: float | None = None
    why: str = ""

    @property
    def within_noise(self) -> bool | None:
        """False only if the corrected p is at most 0.05 and the clustered interval leaves zero out; None if unknown."""
        if self.difference is None or self.adjusted is None:
            return None
        return not (self.adjusted <= ALPHA and self.difference.low * self.difference.high > 0)


@dataclass(frozen=True)
class Pair:
    """Two records that answered the same items.

    ``apart`` names what else differs between them besides method, budget and seed.
    """

    first: RunRecord
    second: RunRecord
    lines: tuple[Line, ...]
    apart: tuple[str, ...]


def compare_files(first: Path, second: Path) -> Pair:
    """Compare two record files.

    Raises:
        UserError: a record or its answers cannot be read, or the two did not answer the same items the same way.
    """
    records = load(first), load(second)
    if records[0].name == records[1].name and records[0].code == records[1].code:
        raise UserError(f"{first} and {second} are records of the same run; there is nothing to compare.")
    apart = _check(first, second, *records)
    answers = load_answers(records[0], first), load_answers(records[1], second)
    lines = [_line(name, *records, *answers) for name in _benchmarks(records[0])]
    return Pair(*records, _corrected(lines), apart)


def _benchmarks(record: RunRecord) -> list[str]:
    return [score.benchmark for score in record.scores]


def _check(first: Path, second: Path, one: RunRecord, other: RunRecord) -> tuple[str, ...]:
    """What differs between the two although it may.

    Raises:
        UserError: suite, benchmarks or evaluator differ.
    """
    if one.suite.name != other.suite.name:
        raise UserError(
            f"{first} ran suite '{one.suite.name}' and {second} suite '{other.suite.name}'; only runs of the same "
            f"suite answered the same items."
        )
    odd = set(_benchmarks(one)) ^ set(_benchmarks(other))
    if odd:
        raise UserError(f"Only one of {first} and {second} has a score on {min(odd)}; run both with the same suite.")
    sides = [conditions(record) | _length(record) for record in (one, other)]
    names = [name for name in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(name) != sides[1].get(name)]
    evaluator = [name for name in names if name.startswith("evaluator.")]
    if evaluator:
        found = [str(side.get(evaluator[0])) for side in sides]
        raise UserError(
            f"{first} and {second} were not evaluated alike: {evaluator[0]} is {found[0]} in one and {found[1]} in the "
            f"other; evaluate both with the same version and suite."
        )
    if one.method.name == other.method.name and None not in (one.code, other.code) and one.code != other.code:
        names.append("the code that chose the rows")
    return tuple(names)


def _length(record: RunRecord) -> dict[str, object]:
    """How long the recipe trains, in which rows of one table may differ."""
    return {f"recipe.{name}": record.recipe.options.get(name) for name in LENGTHS}


def _line(
    name: str,
    first: RunRecord,
    second: RunRecord,
    answers: Mapping[str, Sequence[Answer]],
    others: Mapping[str, Sequence[Answer]],
) -> Line:
    values = [next(s.value for s in record.scores if s.benchmark == name) for record in (first, second)]
    sides = answers.get(name, []), others.get(name, [])
    line = Line(name, values[0], values[1], len(sides[0]))
    if [_item(answer) for answer in sides[0]] != [_item(answer) for answer in sides[1]]:
        raise UserError(f"The two runs did not answer the same items of {name}; run both with the same suite and data.")
    made = zip((first, second), sides, strict=True)
    tallies = [found for record, side in made if (found := tally_of(record, name, side)) is not None]
    if len(tallies) < len(sides):
        return replace(line, why="its metric cannot be computed from single items")
    for recorded, found in zip(values, tallies, strict=True):
        if abs(recorded - found.total) > AGREES:
            why = f"its answers give {found.total:.2f} where the record says {recorded:.2f}"
            return replace(line, why=why)
    return _tested(line, tallies[0], tallies[1])


def _item(answer: Answer) -> tuple[str, ...]:
    return answer.item, answer.target, answer.image, answer.unit, answer.stratum


def _tested(line: Line, first: Tally, second: Tally) -> Line:
    found = paired_bootstrap(first, second, np.random.default_rng(SEED))
    clusters = len(first.sums)
    if found is None:
        return replace(line, clusters=clusters, why="there is only one independent item")
    exact = first.right is not None and second.right is not None and clusters == len(first.right)
    p = mcnemar(first.right, second.right) if exact else found.p
    return replace(line, clusters=clusters, difference=found, p=p, exact=exact)


def _corrected(lines: Sequence[Line]) -> tuple[Line, ...]:
    tested = [line.p for line in lines if line.p is not None]
    adjusted = iter(holm(tested))
    return tuple(line if line.p is None else replace(line, adjusted=next(adjusted)) for line in lines)
