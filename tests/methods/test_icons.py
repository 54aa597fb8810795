"""ICONS by hand, and against plain loops over pairs of gradients."""

import logging

import numpy as np
import pytest

from selectmm.features.feature import Targets
from selectmm.methods.check import pool_of
from selectmm.methods.icons import Icons
from selectmm.methods.influence import influences, mean_gradient, parts_of
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool
from tests.tuning.conftest import RECIPE


def gradients(rows: int, seed: int, dim: int = 5) -> np.ndarray:
    """Norms, which nobody reads here, and projections."""
    rng = np.random.default_rng(seed)
    return np.c_[np.full(rows, 99.0), rng.normal(size=(rows, dim)) * rng.gamma(1, size=(rows, 1))]


def examples(*sources: str) -> Pool:
    return pool_of([(source, f"asked {number}", None) for number, source in enumerate(sources)])


def kept(method: Icons, pool: Pool, values: np.ndarray, targets: Pool, theirs: np.ndarray, budget: int) -> Subset:
    (feature,) = method.needs().features
    return chosen(method, pool, {feature: values}, budget, targets=Targets(targets, {feature: theirs}))


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def test_parts_are_what_stands_behind_a_slash() -> None:
    found = parts_of(examples("POPE", "MME/count", "POPE", "MME/colour", "MME/count"))
    assert {name: [part.tolist() for part in parts] for name, parts in found.items()} == {
        "MME": [[3], [1, 4]],
        "POPE": [[0, 2]],
    }


def test_influence_is_the_mean_over_pairs_and_zero_of_a_gradient_of_zero() -> None:
    values, theirs = gradients(20, 0), gradients(6, 1)
    values[3, 1:] = 0
    for scaled in (True, False):
        mean = mean_gradient(theirs, np.array([0, 2, 5]), scaled)
        made = influences(values, np.arange(20), mean[None])[:, 0]
        for row in range(20):
            pairs = [(unit(theirs[v, 1:]) if scaled else theirs[v, 1:]) for v in (0, 2, 5)]
            expected = 0 if row == 3 else np.mean([unit(values[row, 1:]) @ pair for pair in pairs])
            assert made[row] == pytest.approx(expected, abs=1e-12)


def test_votes_by_hand() -> None:
    """Two benchmarks along the axes, five rows in the plane; two are kept, so a row needs the 60th percentile.

    Influences on x: 1, 0.8, 0.6, 0, −1 and on y: 0, 0.6, 0.8, 1, 0. The 60th of five numbers (linear, place 2.4 from
    below): on x 0.6 + 0.4 · 0.2 = 0.68, so rows 0 and 1; on y 0.6 + 0.4 · 0.2 = 0.68, so rows 2 and 3. One vote each:
    by mean influence rows 1 and 2 (0.7) are kept before 0 and 3 (0.5).
    """
    directions = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [-1, 0]]) * np.array([[3], [1], [2], [1], [1]])
    pool = pool_of([("s", f"question {row}", None) for row in range(5)])
    axes = np.array([[9, 1, 0], [9, 0, 4]])
    subset = kept(Icons(), pool, np.c_[np.ones(5), directions], examples("A", "B"), axes, 2)
    assert subset.scores.tolist() == [1, 1, 1, 1, 0] and subset.rows.tolist() == [1, 2]
    everyone = kept(Icons(percentile=50), pool, np.c_[np.ones(5), directions], examples("A", "B"), axes, 2)
    assert everyone.scores.tolist() == [1, 2, 2, 1, 0], "the median is among the voted for"


@pytest.mark.parametrize("parts", ["max", "mean"])
@pytest.mark.parametrize("scaled", ["raw", "unit"])
def test_the_whole_is_the_published_rule(parts: str, scaled: str) -> None:
    pool, values, theirs = talking_pool(40), gradients(40, 2), gradients(7, 3)
    names = ["B", "A/x", "A/y", "B", "A/x", "C", "C"]
    influence = np.empty((40, 3))
    for row in range(40):
        own = unit(values[row, 1:])
        plain = [own @ theirs[v, 1:] / (np.linalg.norm(theirs[v, 1:]) if scaled == "unit" else 1) for v in range(7)]
        cosine = [own @ unit(theirs[v, 1:]) for v in range(7)]
        of_parts = [(plain[1] + plain[4]) / 2, plain[2]]
        of_a = max(of_parts) if parts == "max" else sum(of_parts) / 2
        influence[row] = of_a, (cosine[0] + cosine[3]) / 2, (cosine[5] + cosine[6]) / 2
    if scaled == "raw":
        influence[:, 0] /= max(np.linalg.norm((theirs[1] + theirs[4])[1:] / 2), np.linalg.norm(theirs[2, 1:]))
    votes = sum((influence[:, t] >= np.percentile(influence[:, t], 70)).astype(int) for t in range(3))
    ranking = sorted(range(40), key=lambda row: (-votes[row], -influence[row].mean()))
    method = Icons(parts=parts, part_gradients=scaled)
    subset = kept(method, pool, values, examples(*names), theirs, 12)
    assert subset.scores.tolist() == votes.tolist() and subset.rows.tolist() == sorted(ranking[:12])


def test_rows_without_a_gradient_come_last() -> None:
    """All others are opposed to the benchmark, so that no influence is among the highest."""
    values = np.c_[np.ones(20), -np.ones(20), np.zeros(20)]
    values[:4] = 0
    theirs = np.array([[1.0, 1.0, 0.5]])
    subset = kept(Icons(), talking_pool(20), values, examples("A"), theirs, 4)
    assert subset.rows.min() >= 4 and subset.excluded == {"no answer token within recipe.max_length": 4}
    assert len(kept(Icons(), talking_pool(20), values, examples("A"), theirs, 18).rows) == 18


def test_the_length_of_gradients_of_a_benchmark_with_parts_decides_no_tie() -> None:
    pool, values, names = talking_pool(20), gradients(20, 6), ("A/x", "A/x", "A/y", "B")
    theirs = gradients(4, 7)
    longer = theirs.copy()
    longer[:3] *= 100
    for budget in range(1, 20):
        given = [kept(Icons(), pool, values, examples(*names), of, budget).rows.tolist() for of in (theirs, longer)]
        assert given[0] == given[1]


def test_ties_are_told_and_broken_by_what_rows_say(caplog: pytest.LogCaptureFixture) -> None:
    pool, theirs = talking_pool(30), gradients(4, 5)
    values = np.repeat(gradients(6, 4), 5, axis=0)
    targets = examples("A", "A", "B", "C")
    for tie in ("mean_influence", "key"):
        method = Icons(tie=tie)
        (feature,) = method.needs().features
        given = Targets(targets, {feature: theirs})
        keeps_its_rows_in_another_order(method, pool, {feature: values}, 12, targets=given)
    with caplog.at_level(logging.INFO, "selectmm"):
        kept(Icons(), pool, np.ones((30, 6)), targets, theirs, 12)
    assert "12 of 12 kept rows have the 3 votes of the last one, as 18 others; mean_influence decided" in caplog.text


def test_the_warm_up_draws_from_the_whole_pool_and_trains_as_the_experiment_does_but_for_its_own_values() -> None:
    pool = talking_pool(200)
    rows = RandomWarmUp(fraction=0.1).rows(pool, np.random.default_rng(0))
    assert (
        len(rows) == 20
        and (np.diff(rows) > 0).all()
        and len(RandomWarmUp(fraction=1e-6).rows(pool, np.random.default_rng(0))) == 1
    )
    made = RandomWarmUp(rank=16, alpha=32, dropout=0.1, lora_layers="attention", lr=1e-3, epochs=4).recipe(RECIPE)
    named = (made.rank, made.alpha, made.dropout, made.lora_layers, made.lr, made.epochs, made.tune, made.length)
    assert named == (16, 32, 0.1, "attention", 1e-3, 4, "lora", "epochs")
    assert (made.batch_size, made.precision) == (RECIPE.batch_size, RECIPE.precision)
