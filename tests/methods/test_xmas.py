"""XMAS by hand, and against its steps in plain words."""

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.check import pool_of
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content
from selectmm.methods.order import random_keys
from selectmm.methods.subset import Subset
from selectmm.methods.xmas import Xmas, served
from selectmm.pool.pool import Pool
from tests.methods.pools import shuffled, talking_pool


def kept(method: Xmas, pool: Pool, paths: np.ndarray, budget: int) -> Subset:
    (feature,) = method.needs().features
    opened = tuple(Features({feature: point}) for point in paths.T)
    return method.select(pool, Features(opened[-1].values, snapshots=opened), budget, np.random.default_rng(0))


def test_small_clusters_are_served_first_and_what_is_left_is_shared_again() -> None:
    """Sizes 3, 4 and 9; eleven rows: 11 // 3 = 3 of the first, 8 // 2 = 4 of the second, the last gives 4. Two rows of
    clusters of one come when all others are taken."""
    first = np.arange(18.0)[::-1]
    clusters = [np.arange(0, 9), np.arange(9, 12), np.arange(12, 16), np.array([16]), np.array([17])]
    assert sorted(served(clusters, first, 11).tolist()) == [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert sorted(served(clusters, first, 4).tolist()) == [7, 8, 11, 15], "one, one of three, two of two"
    assert sorted(served(clusters, first, 17).tolist()) == [*range(16), 17]
    assert served(clusters, first, 0).tolist() == [] and len(served(clusters, first, 18)) == 18
    assert sorted(served([np.arange(9), np.array([9, 10])], first, 4).tolist()) == [5, 6, 7, 8], "two rows are few"
    assert served([np.array([0, 1])], np.array([2.0, 1.0]), 1).tolist() == [1]


def test_instability_by_hand() -> None:
    """|2 − 1| + |5 − 2| = 4 and |1 − 3| + |1 − 1| = 2; the third row never moves."""
    pool = pool_of([("s", f"question {row}", f"{row}.png") for row in range(3)])
    paths = np.array([[1.0, 2, 5], [3, 1, 1], [7, 7, 7]])
    subset = kept(Xmas(clusters=1), pool, paths, 2)
    assert subset.scores.tolist() == [4, 2, 0] and subset.rows.tolist() == [1, 2]


def test_the_whole_is_the_published_rule() -> None:
    pool, method = talking_pool(80), Xmas(clusters=6, checkpoints=4)
    paths = np.random.default_rng(3).gamma(2, size=(80, 4))
    shown = pool.image_of >= 0
    rng = np.random.default_rng(0)
    keys, order = random_keys(pool, rng), by_content(pool)
    seen = order[shown[order]]
    labels = kmeans(Vectors(paths, seen), 6, rng, spherical=False, iterations=100).labels
    clusters = [seen[labels == number].tolist() for number in range(labels.max() + 1)] + [order[~shown[order]].tolist()]
    steady = np.abs(np.diff(paths)).sum(1)
    chosen: list[int] = []
    large = sorted((c for c in clusters if len(c) > 2), key=len)
    for number, cluster in enumerate(large):
        share = min(len(cluster), (30 - len(chosen)) // (len(large) - number))
        value = steady if shown[cluster[0]] else keys
        chosen += sorted(cluster, key=lambda row, value=value: value[row])[:share]
    subset = kept(method, pool, paths, 30)
    assert len(chosen) == 30 and subset.rows.tolist() == sorted(chosen)
    assert subset.scores[shown] == pytest.approx(steady[shown], abs=1e-6) and np.isnan(subset.scores[~shown]).all()


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    pool, paths = talking_pool(60), np.random.default_rng(0).integers(0, 2, (60, 3)).astype(float)
    moved, order = shuffled(pool)
    before, after = kept(Xmas(clusters=4), pool, paths, 20), kept(Xmas(clusters=4), moved, paths[order], 20)
    assert sorted(order[after.rows].tolist()) == before.rows.tolist()


def test_a_single_checkpoint_is_refused_in_one_sentence() -> None:
    with pytest.raises(UserError, match=r"^method\.checkpoints=1: a trajectory has at least two\.$"):
        Xmas(checkpoints=1).needs()
    with pytest.raises(UserError, match="method=xmas needs two checkpoints, but its warm-up takes one step; raise"):
        kept(Xmas(), talking_pool(5), np.ones((5, 1)), 2)
