"""Adapt-∞: histogram, draw and scores by hand, and what the whole keeps to."""

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import NO_ANSWER, Feature
from selectmm.methods.adapt_inf import AdaptInf, spread, stratified
from selectmm.methods.check import pool_of
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def test_the_spread_is_the_entropy_of_the_histogram_whatever_the_scale() -> None:
    """Four bins from 0 to 8 hold 2, 1, 0 and 1 of four scores."""
    scores = np.array([0.0, 1.0, 3.0, 8.0])
    expected = -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))
    assert spread(scores, 4) == pytest.approx(expected, abs=1e-8)
    assert spread((scores - scores.mean()) / scores.std(), 4) == spread(scores, 4)
    assert spread(np.array([np.nan, *scores, np.nan]), 4) == spread(scores, 4)
    assert spread(np.ones(5), 4) == spread(np.array([np.nan]), 4) == 0


def test_rows_are_drawn_evenly_over_the_range_without_its_ends() -> None:
    """Of 20 scores the lowest and the highest are left out (5 %); the other 18 are 10 · 0, 6 · 5, 2 · 10.

    Two bins from 0 to 10 hold ten (0) and eight (5 and 10): eight rows are four of each.
    """
    scores = np.array([-100.0] + [0.0] * 10 + [5.0] * 6 + [10.0] * 2 + [100.0])
    keys = np.random.default_rng(0).uniform(size=20)
    kept = stratified(scores, keys, 8, bins=2, trim=0.05)
    assert len(set(kept.tolist())) == 8 and (scores[kept] == 0).sum() == 4 and np.abs(scores[kept]).max() <= 10
    zeros = np.flatnonzero(scores == 0)
    assert set(kept[scores[kept] == 0].tolist()) == set(zeros[np.argsort(keys[zeros])[:4]].tolist())
    assert (scores[stratified(scores, keys, 12, bins=10, trim=0.05)] == 10).sum() == 2, "all that a bin has"
    assert set(stratified(scores, keys, 19, bins=2, trim=0.05).tolist()) >= set(range(1, 19)), "then an end"
    assert sorted(stratified(np.full(4, np.nan), keys[:4], 4, 2, 0.05).tolist()) == [0, 1, 2, 3]
    assert stratified(np.full(4, np.nan), keys[:4], 0, 2, 0.05).tolist() == []


def test_fewer_rows_than_bins_come_from_all_over_the_range() -> None:
    """Of scores uniform between 0 and 1 ten rows are drawn from fifty bins: their mean is 0.5, and turning the scores
    changes nothing but the side. 200 draws of ten have a standard error below 0.3 / √2000 = 0.007."""
    scores, rng = np.linspace(0, 1, 1001), np.random.default_rng(0)
    found = [scores[stratified(turn * scores, rng.uniform(size=1001), 10, 50, 0.05)] for turn in (1, -1) * 100]
    assert np.mean(found[::2]) == pytest.approx(0.5, abs=0.05) and np.mean(found[1::2]) == pytest.approx(0.5, abs=0.05)
    assert max(map(max, found)) > 0.9 and min(map(min, found)) < 0.1


def method(**options: object) -> AdaptInf:
    return AdaptInf(**{"scores": ("perplexity", "el2n"), "clusters": 2, "bins": 4} | options)


def given(losses: np.ndarray, errors: np.ndarray, places: np.ndarray) -> dict[Feature, np.ndarray]:
    (*_, place) = method().needs().features
    return {AnswerLoss(): losses, AnswerError(): errors, place: places}


def test_every_cluster_picks_the_score_that_tells_its_rows_apart_and_gets_the_same_budget() -> None:
    """Two clouds of 20 and 60 rows; losses vary in the first alone, errors in the second."""
    cloud = np.repeat([0, 1], [20, 60])
    even = np.arange(80) / 100
    losses = np.where(cloud == 0, even, 0.1 + (np.arange(80) == 79))
    errors = np.where(cloud == 1, even, 0.1 + (np.arange(80) == 0))
    values = given(losses, errors, 100.0 * cloud[:, None] + np.random.default_rng(0).normal(size=(80, 2)))
    subset = chosen(method(), talking_pool(80), values, 24)
    assert subset.scores == pytest.approx(even), "each row's score is the one that its cluster picked"
    assert np.bincount(cloud[subset.rows]).tolist() == [12, 12]
    assert np.bincount(cloud[chosen(method(), talking_pool(80), values, 60).rows]).tolist() == [20, 40]


def test_grounding_is_what_the_image_is_worth_and_nothing_without_one() -> None:
    pool = pool_of([("s", "a", "a.png"), ("s", "b", None), ("s", "c", "c.png"), ("s", "d", "d.png")])
    by_ground = method(scores=("grounding",), clusters=1)
    (*_, place) = by_ground.needs().features
    values = {AnswerLoss(): np.array([1.0, 2.0, 3.0, NO_ANSWER]), BlindLoss(): np.array([1.5, 0, 2.0, NO_ANSWER])}
    subset = chosen(by_ground, pool, values | {place: np.zeros((4, 2))}, 3)
    assert subset.scores == pytest.approx([0.5, 0.0, -1.0, np.nan], nan_ok=True)
    assert subset.rows.tolist() == [0, 1, 2] and subset.excluded == {"no answer token within recipe.max_length": 1}


def test_a_row_without_a_gradient_has_no_answer() -> None:
    by_norm = method(scores=("grand",), clusters=1)
    (norm, place) = by_norm.needs().features
    values = {norm: np.array([0.0, 0.0, *np.arange(1.0, 19.0)]), place: np.zeros((20, 2))}
    subset = chosen(by_norm, talking_pool(20), values, 18)
    assert subset.rows.tolist() == list(range(2, 20)) and np.isnan(subset.scores[:2]).all()
    assert subset.excluded == {"no answer token within recipe.max_length": 2}


def test_rows_are_clustered_by_where_their_gradients_point_and_not_by_their_lengths() -> None:
    by_gradient = method(scores=("perplexity",), cluster_by="gradients")
    (loss, place) = by_gradient.needs().features
    gradients = np.c_[1e3 * np.arange(40), np.repeat([[9.0, 0], [0, 9]], [10, 30], axis=0)]
    rng = np.random.default_rng(0)
    subset = chosen(by_gradient, talking_pool(40), {loss: rng.uniform(size=40), place: gradients}, 10)
    assert (subset.rows < 10).sum() == 5


def test_gradients_need_a_warm_up_and_other_scores_do_not() -> None:
    assert method().needs().warmup is None
    assert AdaptInf().needs().warmup is not None and method(cluster_by="gradients").needs().warmup is not None
    with pytest.raises(UserError, match=r"method\.scores names 'length', which is not one of perplexity, el2n, ent"):
        method(scores=("length",)).needs()
    with pytest.raises(UserError, match=r"method\.scores is empty; name at least one of perplexity"):
        method(scores=()).needs()


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    rng = np.random.default_rng(0)
    values = given(rng.integers(1, 4, 60) / 2, rng.integers(1, 4, 60) / 3, rng.integers(0, 2, (60, 3)).astype(float))
    keeps_its_rows_in_another_order(method(clusters=4), talking_pool(60), values, 20)
