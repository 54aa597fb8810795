"""How far a benchmark's value moves where a few items are answered otherwise."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace

from selectmm.evaluation.outcome import Answer
from selectmm.statistics.tally import POINTS, tally


def largest_change(answers: Sequence[Answer], metric: str, scale: float, items: int, flips: int) -> float:
    """The largest change that other answers to ``flips`` items can make, in the table's unit.

    An item's share of a mean is that of any other item. In MME's points an item counts for its category and for its
    pair, and in F1 a right yes counts twice, so there the flips are tried.
    """
    found = tally(answers, metric, scale) if metric == "pope_f1_score" or metric.startswith("mme_") else None
    if found is None:
        return POINTS * flips / items
    return max(abs(tally(other, metric, scale).total - found.total) for other in _flipped(answers, metric, flips))


def _flipped(answers: Sequence[Answer], metric: str, flips: int) -> Iterator[Sequence[Answer]]:
    """The answers with ``flips`` of them turned round, in every way that may change the value differently."""
    if flips == 0:
        yield answers
        return
    kinds = _kinds_of_f1(answers) if metric == "pope_f1_score" else _kinds_of_points(answers)
    for place in {kind: place for place, kind in enumerate(kinds)}.values():
        other = list(answers)
        other[place] = _turned(answers[place])
        yield from _flipped(other, metric, flips - 1)


def _kinds_of_f1(answers: Sequence[Answer]) -> list[Hashable]:
    said = ([text.lower().strip() for text in (answer.answer, answer.target)] for answer in answers)
    return [(answer if answer in ("yes", "no") else "neither", target == "yes") for answer, target in said]


def _kinds_of_points(answers: Sequence[Answer]) -> list[Hashable]:
    units = [(answer.stratum, answer.unit or answer.item) for answer in answers]
    scores: dict[tuple[str, str], list[float]] = {}
    for unit, answer in zip(units, answers, strict=True):
        scores.setdefault(unit, []).append(answer.score)
    pairs = zip(units, answers, strict=True)
    return [(answer.stratum, answer.score, tuple(sorted(scores[unit]))) for unit, answer in pairs]


def _turned(answer: Answer) -> Answer:
    """Right where it was wrong, and no where it was yes: MME's points read the score, F1 the text."""
    said = "no" if answer.answer.lower().strip() == "yes" else "yes"
    return replace(answer, answer=said, score=1 - answer.score)
