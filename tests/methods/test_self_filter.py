"""Self-Filter's second stage against its plain form: all rows are compared with each one that is taken."""

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.answers import AnswerError
from selectmm.features.feature import NO_ANSWER
from selectmm.features.pairs import StatePair
from selectmm.methods.clustering import Vectors
from selectmm.methods.content import by_content
from selectmm.methods.el2n import El2n
from selectmm.methods.ifd import Ifd
from selectmm.methods.random import Random
from selectmm.methods.self_filter import SelfFilter, descend
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool

PLACE = StatePair("unit")


def plainly(scores: np.ndarray, unit: np.ndarray, neighbours: int, gamma: float, count: int) -> list[int]:
    values, free, picked = scores.copy(), list(range(len(scores))), []
    for _ in range(count):
        best = max(free, key=lambda row: (round(values[row], 9), -row))
        free.remove(best)
        picked.append(best)
        near = sorted(free, key=lambda row: (-round(float(unit[row] @ unit[best]), 12), row))[:neighbours]
        for row in near:
            values[row] -= values[best] * float(unit[row] @ unit[best]) ** 2 * gamma
    return picked


@pytest.mark.parametrize("neighbours", [1, 4])
def test_it_is_the_plain_form_also_when_listed_neighbours_run_out(neighbours: int) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        vectors = rng.normal(size=(60, 3))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        scores = rng.gamma(2, size=60)
        made = descend(scores, Vectors(vectors, np.arange(60), unit=True), neighbours, 0.7, 55)
        assert made.tolist() == plainly(scores, unit, neighbours, 0.7, 55)


def test_by_hand() -> None:
    """3, 2.9 and 2 with the first two alike: 2.9 falls by 3 · 1 to −0.1, so the third is taken next."""
    vectors = Vectors(np.array([[1.0, 0], [5, 0], [0, 1]]), np.arange(3), unit=True)
    assert descend(np.array([3.0, 2.9, 2]), vectors, 1, 1.0, 2).tolist() == [0, 2]
    assert descend(np.array([3.0, 2.9, 2]), vectors, 1, 0.0, 2).tolist() == [0, 1]


@pytest.mark.parametrize("keep", ["high", "low"])
@pytest.mark.parametrize("shift", [True, False])
def test_the_whole_is_the_other_methods_scores_and_then_the_descent(keep: str, shift: bool) -> None:
    pool, rng = talking_pool(40), np.random.default_rng(5)
    errors, vectors = rng.uniform(0.1, 1.4, 40), rng.normal(size=(40, 3))
    errors[7] = NO_ANSWER
    method = SelfFilter(El2n(), keep=keep, shift=shift, neighbours=3)
    subset = chosen(method, pool, {AnswerError(): errors, PLACE: vectors}, 15)
    order = [row for row in by_content(pool).tolist() if row != 7]
    signed = errors[order] * (1 if keep == "high" else -1)
    unit = vectors[order] / np.linalg.norm(vectors[order], axis=1, keepdims=True)
    picked = plainly(signed - (signed.min() if shift else 0), unit, 3, 1.0, 15)
    assert subset.rows.tolist() == sorted(order[p] for p in picked)
    assert np.isnan(subset.scores[7]) and subset.excluded == {"no answer token within recipe.max_length": 1}
    everyone = chosen(method, pool, {AnswerError(): errors, PLACE: vectors}, 40)
    assert len(everyone.rows) == 40, "an unscored row comes last, and comes"


def test_it_needs_what_the_other_method_needs_and_is_another_for_another() -> None:
    assert SelfFilter(Ifd()).needs().features == (*Ifd().needs().features, PLACE)
    assert SelfFilter(El2n()).kind != SelfFilter(Ifd()).kind, "or two without options would share a cached subset"


def test_a_method_without_scores_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match="method=self_filter needs scores, but Random gives none; choose another"):
        chosen(SelfFilter(Random()), talking_pool(10), {PLACE: np.ones((10, 3))}, 3)


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    rng = np.random.default_rng(0)
    values = {AnswerError(): rng.integers(1, 4, 60) / 3, PLACE: rng.integers(0, 2, (60, 3)).astype(float)}
    keeps_its_rows_in_another_order(SelfFilter(neighbours=3), talking_pool(60), values, 20)
