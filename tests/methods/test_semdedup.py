"""SemDeDup by hand, and against the authors' rule with a threshold, one row at a time."""

import numpy as np
import pytest

from selectmm.methods import clustering
from selectmm.methods.check import pool_of
from selectmm.methods.clustering import Vectors
from selectmm.methods.content import by_content
from selectmm.methods.semdedup import STATES, SemDeDup, redundancy
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool

ONE_CLUSTER = {"clusters": 1}


def directions(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


def test_by_hand_the_rows_farthest_from_the_centre_are_what_others_are_compared_with() -> None:
    """Directions of 0, 10, 40 and 90 degrees: their sum points to 33.3, so 90 is farthest, then 0, 10, 40.

    0 is cos 90 = 0 from 90; 10 is cos 10 from 0; 40 is cos 30 from 10 (cos 50 from 90, cos 40 from 0).
    """
    pool = pool_of([("s", f"question {row}", None) for row in range(4)])
    values = {STATES: 3.0 * directions(0, 10, 40, 90)}
    subset = chosen(SemDeDup(**ONE_CLUSTER), pool, values, 3)
    assert subset.scores == pytest.approx([0, np.cos(np.radians(10)), np.cos(np.radians(30)), 0], abs=1e-8)
    assert subset.rows.tolist() == [0, 2, 3]
    easy = chosen(SemDeDup(**ONE_CLUSTER, keep="easy"), pool, values, 2)  # 40, then 10, 0, 90
    easy_scores = [np.cos(np.radians(10)), np.cos(np.radians(30)), 0.0, np.cos(np.radians(50))]
    assert easy.scores == pytest.approx(easy_scores, abs=1e-8) and easy.rows.tolist() == [2, 3]


def test_a_row_that_points_away_from_all_before_it_scores_zero_and_not_less() -> None:
    """0, 120 and 240 degrees are at a cosine of −0.5 from one another."""
    pool = pool_of([("s", f"question {row}", None) for row in range(3)])
    subset = chosen(SemDeDup(**ONE_CLUSTER), pool, {STATES: directions(0, 120, 240)}, 1)
    assert subset.scores.tolist() == [0, 0, 0]


def authors_rule(unit: np.ndarray, labels: np.ndarray, centres: np.ndarray, epsilon: float) -> set[int]:
    """What is left when rows above 1 − ε are dropped, one cluster and one row after the other."""
    left = set()
    for label in range(len(centres)):
        rows = np.flatnonzero(labels == label)
        rows = rows[np.argsort(unit[rows] @ centres[label], kind="stable")]
        for place, row in enumerate(rows):
            cosines = [float(unit[row] @ unit[before]) for before in rows[:place]]
            if max([0.0, *cosines]) <= 1 - epsilon:
                left.add(int(row))
    return left


@pytest.mark.parametrize("seed", range(4))
def test_keeping_the_lowest_scores_is_dropping_above_the_threshold_that_leaves_as_many(seed: int) -> None:
    pool = talking_pool(90)
    order = by_content(pool)
    values = np.random.default_rng(seed).normal(size=(90, 4)).astype(np.float32)
    unit = values[order].astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = clustering.kmeans(
        Vectors(values, order, unit=True), 9, np.random.default_rng(seed), spherical=True, iterations=50
    )
    method = SemDeDup(clusters=9, rows_per_cluster=10)
    for epsilon in (0.02, 0.1, 0.5):
        left = authors_rule(unit, found.labels, found.centres, epsilon)
        subset = chosen(method, pool, {STATES: values}, len(left), seed=seed)
        assert set(subset.rows.tolist()) == {int(order[place]) for place in left}


def test_the_highest_earlier_cosine_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    direct = [max([0.0, *(unit[row] @ unit[:row].T)]) for row in range(50)]
    for block in (2**24, 7 * 4096):
        monkeypatch.setattr(clustering, "BLOCK", block)
        assert redundancy(Vectors(values, np.arange(50), unit=True)) == pytest.approx(direct, abs=1e-8)


def test_identical_rows_are_dropped_before_all_others() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=(10, 5)), 2, axis=0)
    pool = talking_pool(20)
    subset = chosen(SemDeDup(**ONE_CLUSTER), pool, {STATES: values}, 10)
    assert sorted((subset.rows // 2).tolist()) == list(range(10)), "one of each pair"
    keeps_its_rows_in_another_order(SemDeDup(**ONE_CLUSTER), pool, {STATES: values}, 7)
    keeps_its_rows_in_another_order(SemDeDup(rows_per_cluster=4), pool, {STATES: values}, 7)
