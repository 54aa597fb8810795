"""TIVE against direct loops: influence, budgets, oversampling, the weights of the draw."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods import tive as tive_module
from selectmm.methods.check import invented_pool, pool_of
from selectmm.methods.order import shares
from selectmm.methods.subset import Subset
from selectmm.methods.tive import Tive, influence
from selectmm.methods.warmup import WarmUp
from selectmm.pool.composition import known
from selectmm.pool.pool import Pool
from selectmm.tuning.recipe import Recipe
from tests.tuning.conftest import RECIPE

DIM = 6


def pool_with(**sizes: int) -> Pool:
    return pool_of([(source, f"{source} {i}", None) for source, size in sizes.items() for i in range(size)])


def gradients(norms: np.ndarray, seed: int = 0) -> np.ndarray:
    """[rows, 1 + DIM]: true norms, and projections that only more or less agree with them."""
    projected = np.random.default_rng(seed).normal(size=(len(norms), DIM)) + 0.5
    return np.column_stack([norms, projected])


def select(method: Tive, pool: Pool, values: np.ndarray, budget: int, seed: int = 0) -> Subset:
    (feature,) = method.needs().features
    return method.select(pool, Features({feature: values}), budget, np.random.default_rng(seed))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / lengths) if lengths else 0.0


@given(seed=st.integers(0, 10_000), rows=st.integers(1, 30), block=st.integers(1, 8), dead=st.booleans())
@settings(max_examples=60)
def test_influence_is_the_mean_cosine_with_the_task_itself_included(
    seed: int, rows: int, block: int, dead: bool
) -> None:
    values = gradients(np.ones(2 * rows), seed)
    values[0, 1:] *= 0 if dead else 1
    task = np.arange(0, 2 * rows, 2)
    before, tive_module.BLOCK = tive_module.BLOCK, block
    try:
        made = influence(values, task)
    finally:
        tive_module.BLOCK = before
    expected = [np.mean([cosine(values[i, 1:], values[j, 1:]) for j in task]) for i in task]
    assert made == pytest.approx(expected, abs=1e-12)


@given(
    st.lists(st.tuples(st.integers(1, 12), st.floats(0.01, 50)), min_size=1, max_size=6),
    st.floats(0.05, 1),
    st.sampled_from(["norm", "squared_norm"]),
    st.integers(0, 100),
)
@settings(max_examples=60)
def test_budgets_follow_mean_norms_and_not_sizes(
    tasks: list[tuple[int, float]], share: float, difficulty: str, seed: int
) -> None:
    """n_t = T_t / ΣT · budget up to rounding; a budget beyond the task takes all of it n // |t| times."""
    pool = pool_with(**{f"task{number}": size for number, (size, _) in enumerate(tasks)})
    scale = np.concatenate([np.full(size, hard) for size, hard in tasks])
    norms = scale * np.random.default_rng(seed).uniform(0.5, 1.5, len(pool))
    budget = max(1, round(share * len(pool)))
    subset = select(Tive(difficulty=difficulty), pool, gradients(norms, seed), budget, seed)
    assert len(subset.rows) == budget
    power = 2 if difficulty == "squared_norm" else 1
    own = [np.flatnonzero(pool.sources == f"task{number}") for number in range(len(tasks))]
    hardness = [np.mean([norms[row] ** power for row in rows]) for rows in own]
    for rows, hard in zip(own, hardness, strict=True):
        times = np.bincount(subset.rows, minlength=len(pool))[rows]
        assert abs(times.sum() - hard / sum(hardness) * budget) < 1
        assert times.min() == times.sum() // len(rows) and times.max() - times.min() <= 1


def test_a_task_smaller_than_its_budget_is_taken_more_than_once() -> None:
    pool = pool_with(easy=20, hard=3)
    values = gradients(np.concatenate([np.full(20, 1.0), np.full(3, 4.0)]))
    subset = select(Tive(), pool, values, 10)  # hard: 4 / 5 of 10 rows, which is twice the task and two more
    times = np.bincount(subset.rows, minlength=23)
    assert times[:20].sum() == 2 and sorted(times[20:].tolist()) == [2, 3, 3]


def test_scores_are_influences_task_by_task() -> None:
    pool = invented_pool(30)
    values = gradients(np.ones(30))
    subset = select(Tive(), pool, values, 10)
    for row in range(30):
        others = np.flatnonzero(pool.sources == pool.sources[row])
        mean = np.mean([cosine(values[row, 1:], values[other, 1:]) for other in others])
        assert subset.scores[row] == pytest.approx(mean)


def test_rows_without_an_answer_come_last_in_their_task_and_are_counted() -> None:
    pool = pool_with(one=6, two=6)
    values = gradients(np.where(np.arange(12) % 3 == 0, 0.0, 1.0))
    values[::3] = 0
    subset = select(Tive(), pool, values, 8)
    assert (subset.rows % 3 != 0).all() and len(set(subset.rows.tolist())) == 8
    assert np.isnan(subset.scores[::3]).all() and subset.excluded == {"no answer token within recipe.max_length": 4}


def test_in_llava_665k_textcaps_is_called_after_the_folder_of_its_images() -> None:
    parts = known("llava_665k").sources
    assert [name for name, of in parts.items() if "TextCaps" in of] == ["textvqa"] and len(parts["textvqa"]) == 1
    subset = select(Tive(), pool_with(coco=6, textvqa=6), gradients(np.ones(12)), 4)
    assert (subset.rows < 6).all() and subset.excluded == {"rows of excluded sources": 6}


def test_excluded_sources_get_no_budget_but_their_rows_are_counted() -> None:
    pool = pool_with(one=6, TextCaps=10, two=6)
    values = gradients(np.ones(22))
    subset = select(Tive(), pool, values, 8)
    assert np.isin(pool.sources[subset.rows], ["one", "two"]).all() and len(subset.rows) == 8
    assert subset.excluded == {"rows of excluded sources": 10}
    assert np.isnan(subset.scores[6:16]).all() and np.isfinite(np.delete(subset.scores, range(6, 16))).all()
    everything = select(Tive(exclude=[]), pool, values, 9)
    assert set(pool.sources[everything.rows]) == {"one", "two", "TextCaps"} and everything.excluded == {}
    with pytest.raises(UserError, match=r"told to exclude every source of the pool; change method\.exclude"):
        select(Tive(exclude=["ONE", "two", "textcaps"]), pool, values, 8)


@pytest.mark.parametrize(
    ("method", "inverse_temperature"),
    [
        (Tive(sharpness=3.0), 3.0),
        (Tive(sharpness=0.5, sharpness_by="divide"), 2.0),
        (Tive(), 0.001),  # the authors' default: uniform for all that can be seen
    ],
)
def test_rows_are_drawn_with_softmax_weights(method: Tive, inverse_temperature: float) -> None:
    """One row of four is drawn 2,000 times; frequencies are within five standard deviations of the weights."""
    pool = pool_with(task=4)
    values = gradients(np.ones(4), seed=2)
    values[3, 1:] *= -1
    influences = influence(values, np.arange(4))
    weights = np.exp(inverse_temperature * influences)
    weights /= weights.sum()
    assert inverse_temperature < 1 or weights.max() > 2 * weights.min(), "weights differ, or nothing is tested"
    drawn = np.bincount([select(method, pool, values, 1, seed).rows[0] for seed in range(2000)], minlength=4)
    assert (np.abs(drawn - 2000 * weights) < 5 * np.sqrt(2000 * weights * (1 - weights))).all()


def test_two_rows_are_drawn_one_after_the_other_without_putting_back() -> None:
    """P(i, j) = w_i w_j / (1 − w_i) + w_j w_i / (1 − w_j), which is what softmax without replacement means."""
    pool = pool_with(task=3)
    values = gradients(np.ones(3), seed=2)
    values[2, 1:] *= -1
    weights = np.exp(3 * influence(values, np.arange(3)))
    weights /= weights.sum()
    counts = np.zeros((3, 3))
    for seed in range(2000):
        first, second = select(Tive(sharpness=3.0), pool, values, 2, seed).rows
        counts[first, second] += 1
    for i, j in ((0, 1), (0, 2), (1, 2)):
        p = weights[i] * weights[j] * (1 / (1 - weights[i]) + 1 / (1 - weights[j]))
        assert abs(counts[i, j] - 2000 * p) < 5 * np.sqrt(2000 * p * (1 - p))


def test_gradients_of_zero_everywhere_still_give_a_subset() -> None:
    subset = select(Tive(), pool_with(one=5, two=5), np.zeros((10, 1 + DIM)), 4)
    assert len(subset.rows) == 4 and np.isnan(subset.scores).all()


def test_warm_up_takes_the_same_number_of_every_source() -> None:
    pool = pool_with(large=80, middle=40, small=2)
    rows = WarmUp(fraction=0.3).rows(pool, np.random.default_rng(0))
    counts = {source: int((pool.sources[rows] == source).sum()) for source in pool.counts()}
    assert counts == {"large": 12, "middle": 12, "small": 2}, "int(0.3 · 122 / 3) of each, or all there are"
    assert (np.diff(rows) > 0).all()
    again = WarmUp(fraction=0.3).rows(pool, np.random.default_rng(0))
    assert np.array_equal(rows, again)
    assert len(WarmUp(fraction=1e-6).rows(pool, np.random.default_rng(0))) == 3, "at least one of each"


def test_warm_up_trains_as_the_experiment_does_but_for_its_own_values() -> None:
    own: Recipe = RECIPE
    made = WarmUp(rank=16, alpha=32, lr=1e-3, epochs=3).recipe(own)
    assert made == replace(own, name="warmup", length="epochs", epochs=3, rank=16, alpha=32, lr=1e-3)


def test_warm_up_has_lora_in_the_language_model_whatever_the_experiment_trains() -> None:
    for own in (
        replace(RECIPE, tune="full", rank=0, alpha=0, dropout=0.0),
        replace(RECIPE, vision_lr=1e-4, projector="lora", lora_layers="attention"),
    ):
        made = WarmUp(rank=16).recipe(own)
        assert (made.tune, made.rank, made.lora_layers) == ("lora", 16, "all")
        assert (made.projector, made.vision_lr) == ("full", 0)


def test_shares_follow_weights_that_are_no_counts() -> None:
    assert shares(np.array([0.2, 0.2, 0.6]), 10).tolist() == [2, 2, 6]


def test_budgets_by_size_are_shares_of_the_pool() -> None:
    pool = pool_with(easy=30, hard=10)
    values = gradients(np.concatenate([np.full(30, 1.0), np.full(10, 9.0)]))
    subset = select(Tive(difficulty="size"), pool, values, 20)
    assert np.bincount(subset.rows >= 30).tolist() == [15, 5]


def test_influence_is_not_divided_by_zero() -> None:
    with pytest.raises(UserError, match=r"method.sharpness=0 divides no influence; give a number above 0, or set"):
        Tive(sharpness=0, sharpness_by="divide").needs()
