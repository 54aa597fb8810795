"""A benchmark's value as a function of sums over clusters of items, so that it can be drawn again thousands of times.

Items that show one picture are one cluster: a model that misreads the picture fails on all of them, so they are not
independent. Items without a picture are clusters by themselves, together with those that count as one with them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from selectmm.evaluation.outcome import Answer
from selectmm.records.record import RunRecord

OF_SETS = ("hallusion_overall", "fAcc")  # count figures and questions of a set, which an answer's fields do not name
ITEM = "item "  # what the names of clusters without a picture begin with
POINTS = 100.0  # an item's own score is 0..1, a table's unit is per cent (MME's points are 100 for each of two parts)


@dataclass(frozen=True)
class Tally:
    """One model's answers to one benchmark.

    Attributes:
        sums: what adds up, per cluster, [clusters, parts].
        value: from sums of shape [..., parts] to values of shape [...], in the table's unit.
        strata: name of the group that each cluster is drawn within, [clusters].
        clusters: what each cluster is, [clusters]: a picture, or an item; the same in two runs that answered the same.
        right: whether each unit is right, [units] of bool; None where the value is no share of right ones.
    """

    sums: np.ndarray
    value: Callable[[np.ndarray], np.ndarray]
    strata: tuple[str, ...]
    clusters: tuple[tuple[str, str], ...]
    right: np.ndarray | None

    @property
    def total(self) -> float:
        """The benchmark's value over all items."""
        return float(self.value(self.sums.sum(axis=0)))

    @cached_property
    def without_each(self) -> np.ndarray:
        """The value without each of the clusters in turn, [clusters]: what a jackknife asks for."""
        return self.value(self.sums.sum(axis=0) - self.sums)


def tally_of(record: RunRecord, benchmark: str, answers: Sequence[Answer]) -> Tally | None:
    """The tally of a record's answers to a benchmark, in the unit that the recorded run was configured with."""
    suite = record.config.get("suite")
    entries = suite.get("benchmarks") if isinstance(suite, Mapping) else None
    entries = list(entries.values()) if isinstance(entries, Mapping) else entries if isinstance(entries, list) else []
    scales = [one.get("scale") for one in entries if isinstance(one, Mapping) and one.get("name") == benchmark]
    scale = next((float(scale) for scale in scales if isinstance(scale, int | float)), 1.0)
    return tally(answers, record.suite.evaluator[benchmark].metric, scale)


def tally(answers: Sequence[Answer], metric: str, scale: float = 1.0) -> Tally | None:
    """The tally of a benchmark's answers; None where the metric is not a property of single items.

    Args:
        metric: the harness's key. F1 and MME's points are computed as lmms-eval does; all else is a mean over units.
        scale: the benchmark's. It turns points into the table's unit; of all else it makes per cent, which a tally is
            in, whether the harness gives a share (scale 100) or per cent (scale 1).
    """
    if not answers or any(answer.score is None for answer in answers) or metric in OF_SETS:
        return None
    if metric == "pope_f1_score":
        return _f1(answers)
    if metric.startswith("mme_"):
        return _points(answers, scale)
    return _mean(answers)


def _mean(answers: Sequence[Answer]) -> Tally:
    units = _units(answers)
    scores = np.array([_share(unit) for unit in units])
    parts = np.stack([scores, np.ones(len(units))], axis=1)
    right = scores == 1 if np.isin(scores, (0, 1)).all() else None
    return _tally([unit[0] for unit in units], parts, lambda sums: POINTS * sums[..., 0] / sums[..., 1], right)


def _f1(answers: Sequence[Answer]) -> Tally:
    """Of the answer yes; what is neither yes nor no is not counted as a missed yes (lmms-eval's pope/utils.py)."""
    said = np.array([answer.answer.lower().strip() for answer in answers])
    true = np.array([answer.target.lower().strip() == "yes" for answer in answers])
    parts = np.stack([(said == "yes") & true, (said == "yes") & ~true, (said == "no") & true], axis=1).astype(float)

    def value(sums: np.ndarray) -> np.ndarray:
        """F1 in per cent, [...], of sums [..., 3]: right yes, wrong yes, wrong no."""
        hit, false, missed = np.moveaxis(sums, -1, 0)
        return POINTS * 2 * hit / np.maximum(2 * hit + false + missed, 1)

    return _tally(answers, parts, value, None)


def _points(answers: Sequence[Answer], scale: float) -> Tally:
    """Per category the share of right answers and of pairs that are right as a whole, added (arXiv 2306.13394)."""
    units = _units(answers)
    names = sorted({unit[0].stratum for unit in units})
    earned = np.array([_share(unit) + all(a.score == 1 for a in unit) for unit in units])
    member = np.array([[unit[0].stratum == name for name in names] for unit in units], dtype=float)
    parts = np.concatenate([member * earned[:, None], member], axis=1)

    def value(sums: np.ndarray) -> np.ndarray:
        """Scaled points [...] of sums [..., 2 × categories]: what was earned in each, then the units of each."""
        won, of = sums[..., : len(names)], sums[..., len(names) :]
        return scale * POINTS * (won / np.maximum(of, 1)).sum(axis=-1)

    return _tally([unit[0] for unit in units], parts, value, None)


def _tally(
    firsts: Sequence[Answer], parts: np.ndarray, value: Callable[[np.ndarray], np.ndarray], right: np.ndarray | None
) -> Tally:
    """Add the units' parts up to clusters; ``firsts`` holds one answer of each unit."""
    labels = [_cluster(answer) for answer in firsts]
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    sums = np.zeros((len(places), parts.shape[1]))
    np.add.at(sums, [places[label] for label in labels], parts)
    strata = dict(zip(labels, (answer.stratum for answer in firsts), strict=True))
    groups = _one_of_equals(tuple(strata[label] for label in places))
    return Tally(sums, value, groups, _one_of_equals(tuple(places)), right)


@lru_cache(maxsize=256)
def _one_of_equals(names: tuple[Any, ...]) -> tuple[Any, ...]:
    """The first tuple that was equal: hundreds of runs name the same clusters, and are then compared at once."""
    return names


def _share(unit: Sequence[Answer]) -> float:
    """The mean score of items that count as one, to the bit as NumPy's, which takes longer to begin than to add up two.

    Most units are of one item, and a page is made of hundreds of thousands of them.
    """
    if len(unit) == 1:
        return float(unit[0].score)
    return (unit[0].score + unit[1].score) / 2 if len(unit) == 2 else float(np.mean([answer.score for answer in unit]))


def _units(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Items that count as one, in order of first appearance."""
    units: dict[tuple[str, str], list[Answer]] = {}
    for answer in answers:
        units.setdefault((answer.stratum, answer.unit or answer.item), []).append(answer)
    return list(units.values())


def _cluster(answer: Answer) -> tuple[str, str]:
    return (answer.stratum, answer.image) if answer.image else (answer.stratum, f"{ITEM}{answer.unit or answer.item}")
