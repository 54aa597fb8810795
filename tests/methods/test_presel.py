"""PreSel by hand, and against its steps in plain words."""

import numpy as np
import pytest

from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import NO_ANSWER, Features, Reference
from selectmm.features.unasked import UnaskedLoss
from selectmm.methods.check import pool_of
from selectmm.methods.presel import PreSel
from selectmm.methods.source_warmup import SourceWarmUp
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from tests.methods.pools import shuffled, talking_pool
from tests.tuning.conftest import RECIPE


def picture_pool(*counts: int) -> Pool:
    """Sources a, b, …, each row with an image of its own."""
    names = [chr(ord("a") + number) for number, count in enumerate(counts) for _ in range(count)]
    return pool_of([(name, f"question {row}", f"{row}.png") for row, name in enumerate(names)])


def kept(
    method: PreSel,
    pool: Pool,
    images: np.ndarray,
    rows: np.ndarray,
    asked: np.ndarray,
    unasked: np.ndarray,
    budget: int,
    seed: int = 0,
) -> Subset:
    reference = Reference(rows, {AnswerLoss(): asked, UnaskedLoss(): unasked})
    (feature,) = method.needs().features
    return method.select(pool, Features({feature: images}, reference=reference), budget, np.random.default_rng(seed))


def test_budgets_by_hand() -> None:
    """IRS 0.5 of a and 1.0 of b, two tasks: temperature 1 / √2, weights 1 and exp(−0.5 · √2) = 0.4931: shares 0.670 and
    0.330. Of twelve rows beside two reference rows that is 8.04 and 3.96: eight and four."""
    pool, images = picture_pool(20, 20), np.random.default_rng(0).normal(size=(40, 6))
    subset = kept(PreSel(), pool, images, np.array([0, 20]), np.array([1.0, 3.0]), np.array([2.0, 3.0]), 14)
    assert {0, 20} <= set(subset.rows.tolist()), "reference rows are kept"
    assert ((subset.rows < 20).sum(), (subset.rows >= 20).sum()) == (1 + 8, 1 + 4)
    even = kept(
        PreSel(temperature=1e9), pool, images, np.array([0, 20]), np.array([1.0, 3.0]), np.array([2.0, 3.0]), 14
    )
    assert (even.rows < 20).sum() == 1 + 6
    silent = np.array([NO_ANSWER, 3.0])
    assert (kept(PreSel(), pool, images, np.array([0, 20]), silent, np.array([2.0, 3.0]), 14).rows < 20).sum() == 1 + 6


def test_in_one_cluster_the_rows_most_like_their_neighbours_are_kept() -> None:
    """Directions at 0, 1, 2, 40 and 90 degrees, two neighbours each."""
    pool, angles = picture_pool(6), np.radians([0.0, 1, 2, 40, 90, 200])
    images = np.stack([np.cos(angles), np.sin(angles)], 1) * np.array([[3], [1], [2], [1], [5], [1]])
    subset = kept(PreSel(neighbours=2), pool, images, np.array([5]), np.ones(1), np.ones(1), 3)
    away = {0: (1, 2), 1: (1, 1), 2: (1, 2), 3: (38, 39), 4: (50, 88)}
    for row, angles_away in away.items():
        assert subset.scores[row] == pytest.approx(np.mean(np.cos(np.radians(angles_away))), abs=1e-9)
    assert np.isnan(subset.scores[5]) and 1 in subset.rows and 4 not in subset.rows


def test_clusters_give_by_their_size_and_neighbours_are_of_the_same_cluster() -> None:
    rng = np.random.default_rng(1)
    centres = np.array([[9.0, 0, 0], [0, 9, 0]])
    images = centres[[0] * 20 + [1] * 10 + [0]] + rng.normal(size=(31, 3))
    pool = picture_pool(31)
    method = PreSel(rows_per_cluster=15, neighbours=3)
    subset = kept(method, pool, images, np.array([30]), np.ones(1), np.ones(1), 10)
    assert ((subset.rows < 20).sum(), ((subset.rows >= 20) & (subset.rows < 30)).sum()) == (6, 3)
    unit = images / np.linalg.norm(images, axis=1, keepdims=True)
    for group in (range(20), range(20, 30)):
        for row in group:
            cosines = sorted((unit[row] @ unit[other] for other in group if other != row), reverse=True)
            assert subset.scores[row] == pytest.approx(np.mean(cosines[:3]), abs=1e-9)


def test_reference_rows_count_for_the_clusters_and_are_left_out_of_them() -> None:
    """Ten rows at 0 degrees and ten reference rows at 90, ten rows a cluster: two clusters, and one without rows."""
    rng = np.random.default_rng(4)
    angles = np.radians(np.repeat([0.0, 90], 10) + rng.normal(0, 2, 20))
    images = np.stack([np.cos(angles), np.sin(angles)], 1)
    subset = kept(
        PreSel(rows_per_cluster=10), picture_pool(20), images, np.arange(10, 20), np.ones(10), np.ones(10), 14
    )
    assert (subset.rows < 10).sum() == 4 and np.isnan(subset.scores[10:]).all()
    near = [sorted(np.cos(angles[row] - np.delete(angles[:10], row)), reverse=True)[:5] for row in range(10)]
    assert subset.scores[:10] == pytest.approx(np.mean(near, axis=1), abs=1e-9)


def test_a_cluster_of_reference_rows_alone_gives_nothing() -> None:
    """Two reference rows look like no other row, so clusters of theirs stand between those of the rows to be kept."""
    images = np.eye(5)[[0] * 10 + [1] * 10 + [2] * 10 + [3, 4] * 5]
    images += np.random.default_rng(5).normal(0, 0.01, images.shape)
    method, pool, rows = PreSel(rows_per_cluster=8), picture_pool(40), np.arange(30, 40)
    for seed in range(4):
        subset = kept(method, pool, images, rows, np.ones(10), np.ones(10), 22, seed)
        assert set(rows.tolist()) < set(subset.rows.tolist()) and len(set(subset.rows.tolist())) == 22
        assert np.isfinite(subset.scores[:30]).all() and np.isnan(subset.scores[30:]).all()


def test_images_are_clustered_by_their_direction() -> None:
    """Ten at about 0 and ten at about 90 degrees, one of each a thousand times as long: by place, these are alone."""
    rng = np.random.default_rng(3)
    angles = np.radians(np.r_[rng.normal(0, 2, 10), rng.normal(90, 2, 10), 45])
    images = np.stack([np.cos(angles), np.sin(angles)], 1)
    images[[0, 10]] *= 1000
    method = PreSel(rows_per_cluster=10, neighbours=1)
    subset = kept(method, picture_pool(21), images, np.array([20]), np.ones(1), np.ones(1), 5)
    assert ((subset.rows < 10).sum(), ((subset.rows >= 10) & (subset.rows < 20)).sum()) == (2, 2)
    unit = images / np.linalg.norm(images, axis=1, keepdims=True)
    assert subset.scores[0] == pytest.approx(max(unit[0] @ unit[other] for other in range(1, 10)), abs=1e-9)


def test_text_rows_are_left_out_until_nothing_else_is_there_or_get_their_share() -> None:
    pool = pool_of([("s", f"question {row}", None if row >= 6 else f"{row}.png") for row in range(12)])
    images = np.random.default_rng(0).normal(size=(6, 3))
    given = (images, np.array([0]), np.ones(1), np.ones(1))
    assert (kept(PreSel(), pool, *given, 6).rows < 6).all()
    assert (kept(PreSel(), pool, *given, 9).rows >= 6).sum() == 3
    shared = kept(PreSel(text_rows="proportional"), pool, *given, 5)
    assert (shared.rows >= 6).sum() == 2, "six of eleven of the four beside the reference row"


def test_text_rows_follow_when_every_row_with_an_image_is_a_reference_row() -> None:
    """So with sources of one row each, of which the reference takes at least one."""
    pool = pool_of([("s", f"question {row}", None if row >= 2 else f"{row}.png") for row in range(6)])
    subset = kept(PreSel(), pool, np.eye(2), np.array([0, 1]), np.ones(2), np.ones(2), 4)
    assert {0, 1} < set(subset.rows.tolist()) and len(set(subset.rows.tolist())) == 4


def test_a_budget_below_the_reference_takes_some_of_it() -> None:
    pool, images = picture_pool(20), np.random.default_rng(0).normal(size=(20, 3))
    subset = kept(PreSel(), pool, images, np.arange(0, 20, 4), np.ones(5), np.ones(5), 3)
    assert len(subset.rows) == 3 and set(subset.rows.tolist()) < {0, 4, 8, 12, 16}


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    """Neighbours share an image, so three rows are equally typical."""
    pool = talking_pool(60)
    moved, order = shuffled(pool)
    images = np.random.default_rng(2).normal(size=(len(pool.images), 4))
    again = images[[pool.images.index(name) for name in moved.images]]
    rows = np.array([3, 4, 5])
    place = np.array([int(np.flatnonzero(order == row)[0]) for row in rows])
    asked, unasked = np.array([1.0, 2, 3]), np.array([2.0, 2, 2])
    before = kept(PreSel(rows_per_cluster=8), pool, images, rows, asked, unasked, 20)
    sort = np.argsort(place)
    after = kept(PreSel(rows_per_cluster=8), moved, again, place[sort], asked[sort], unasked[sort], 20)
    assert sorted(order[after.rows].tolist()) == before.rows.tolist()


def test_the_warm_up_draws_the_same_share_of_every_source() -> None:
    pool = pool_of(
        [("a" if row < 60 else "b", f"question {row}", None if row % 2 else f"{row}.png") for row in range(80)]
    )
    rows = SourceWarmUp(fraction=0.2).rows(pool, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all() and (rows % 2 == 0).all()
    assert ((rows < 60).sum(), (rows >= 60).sum()) == (6, 2)
    everyone = SourceWarmUp(fraction=0.2, rows_of="all").rows(pool, np.random.default_rng(0))
    assert ((everyone < 60).sum(), (everyone >= 60).sum()) == (12, 4)
    assert len(SourceWarmUp(fraction=1e-9).rows(pool, np.random.default_rng(0))) == 2, "one of each at least"
    made = SourceWarmUp().recipe(RECIPE)
    assert (made.rank, made.alpha, made.lr, made.epochs, made.tune, made.length) == (
        128,
        256,
        2e-4,
        1,
        "lora",
        "epochs",
    )
