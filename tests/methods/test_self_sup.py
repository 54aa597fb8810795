"""Self-Sup by hand, and against scikit-learn's k-means from the same beginning."""

import numpy as np
import pytest
from sklearn.cluster import KMeans

from selectmm.methods.check import pool_of
from selectmm.methods.clustering import Vectors, _distinct
from selectmm.methods.content import by_content
from selectmm.methods.self_sup import SelfSup
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def test_by_hand_the_ends_of_one_cluster() -> None:
    """Places 0, 1, 2 and 7 on a line: the centre is 2.5, distances 2.5, 1.5, 0.5 and 4.5."""
    pool = pool_of([("s", f"question {row}", None) for row in range(4)])
    for keep, rows in (("hard", [0, 3]), ("easy", [1, 2])):
        method = SelfSup(keep, clusters=1, normalise=False)
        (feature,) = method.needs().features
        subset = chosen(method, pool, {feature: np.array([[0.0], [1.0], [2.0], [7.0]])}, 2)
        assert subset.scores == pytest.approx([2.5, 1.5, 0.5, 4.5]) and subset.rows.tolist() == rows


@pytest.mark.parametrize("normalise", [False, True])
def test_distances_are_scikit_learns(normalise: bool) -> None:
    pool, values = talking_pool(80), np.random.default_rng(0).normal(size=(80, 4))
    method = SelfSup("hard", normalise=normalise, rows_per_cluster=16)
    (feature,) = method.needs().features
    used = (values / np.linalg.norm(values, axis=1, keepdims=True) if normalise else values)[by_content(pool)]
    first = used[_distinct(Vectors(used, np.arange(80)), 5, np.random.default_rng(3))]
    theirs = KMeans(5, init=first, n_init=1, max_iter=50, tol=0, algorithm="lloyd").fit(used)
    away = theirs.transform(used).min(1)
    subset = chosen(method, pool, {feature: values}, 20, seed=3)
    assert subset.scores[by_content(pool)] == pytest.approx(away, abs=1e-9)
    assert set(subset.rows.tolist()) == set(by_content(pool)[np.argsort(-away)[:20]].tolist())


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    values = np.random.default_rng(0).integers(0, 2, (60, 3)).astype(float)
    for keep in ("hard", "easy"):
        method = SelfSup(keep, rows_per_cluster=6)
        keeps_its_rows_in_another_order(method, talking_pool(60), {method.needs().features[0]: values}, 20)
