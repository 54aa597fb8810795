"""COINCIDE: its parts by hand and in their direct forms, and the whole against a plain reading of the definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.coincide import Coincide, served, transferability
from selectmm.methods.content import by_content
from selectmm.methods.mmd import gaussian, greedy
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def units(rows: int, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(rows, width))
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def kernel_of(values: np.ndarray, sigma: float = 1.0) -> np.ndarray:
    return np.array([[np.exp(-np.sum((a - b) ** 2) / (2 * sigma**2)) for b in values] for a in values])


def discrepancy(kernel: np.ndarray, some: list[int]) -> float:
    return kernel.mean() + kernel[np.ix_(some, some)].mean() - 2 * kernel[:, some].mean()


@given(st.integers(1, 12), st.integers(0, 999), st.floats(0.3, 3))
@settings(max_examples=30)
def test_each_row_taken_makes_the_discrepancy_smallest(rows: int, seed: int, sigma: float) -> None:
    values = units(rows, 3, seed)
    kernel = kernel_of(values, sigma)
    made = gaussian(Vectors(values, np.arange(rows)), sigma)
    np.testing.assert_allclose(made.numpy(), kernel, atol=1e-12)
    picked = greedy(made, rows).tolist()
    assert sorted(picked) == list(range(rows))
    for step, row in enumerate(picked):
        others = [c for c in range(rows) if c not in picked[:step]]
        best = min(discrepancy(kernel, [*picked[:step], c]) for c in others)
        assert discrepancy(kernel, [*picked[:step], row]) == pytest.approx(best, abs=1e-11)


def test_of_rows_that_are_as_good_the_first_is_taken() -> None:
    assert greedy(torch.ones(4, 4, dtype=torch.float64), 3).tolist() == [0, 1, 2]


def test_transferability_by_hand() -> None:
    """Text halves at 0, 10, 60 and 180 degrees, of any length; 0 and 10 are too alike to count for one another."""
    angles, lengths = np.radians([0, 10, 60, 180]), np.array([1, 5, 2, 1])
    text = lengths[:, None] * np.c_[np.cos(angles), np.sin(angles)]
    centres = np.c_[np.random.default_rng(0).normal(size=(4, 2)), text]
    cosine = np.cos(angles[:, None] - angles)
    expected = [
        (cosine[0, 2] + cosine[0, 3]) / 2,
        (cosine[1, 2] + cosine[1, 3]) / 2,
        (cosine[2, 0] + cosine[2, 1] + cosine[2, 3]) / 3,
        (cosine[3, 0] + cosine[3, 1] + cosine[3, 2]) / 3,
    ]
    assert transferability(centres, 0.9) == pytest.approx(expected, abs=1e-8)
    assert transferability(centres, -1.0).tolist() == pytest.approx([-1, 0, 0, -1]), "only the opposite one is left"
    everyone = (cosine.sum(1) - 1) / 3
    assert transferability(centres, 1.0) == pytest.approx(everyone, abs=1e-8), "a centre is never its own neighbour"
    assert transferability(np.ones((3, 4)), 0.9).tolist() == [0, 0, 0], "all are masked"
    assert transferability(np.c_[np.ones((2, 2)), np.zeros((2, 2))], 0.9).tolist() == [0, 0], "no text at all"


def test_clusters_are_served_one_after_the_other_by_hand() -> None:
    """Weights 1 : 2 : 5. Of 8 rows the third gets 5 of 8, here 3 that it has; of 5 left the second gets 2 of 3."""
    scores = np.log([1.0, 2.0, 5.0])
    assert served(scores, np.array([9, 9, 3]), 8, 1.0).tolist() == [2, 3, 3]  # 5 · 2/3 = 3.33
    assert served(scores, np.array([9, 9, 9]), 8, 1.0).tolist() == [1, 2, 5]
    assert served(10 * scores, np.array([9, 9, 9]), 8, 10.0).tolist() == [1, 2, 5]
    assert served(scores, np.array([1, 9, 3]), 8, 1.0).tolist() == [1, 4, 3], "the last has one, and hands one back"
    # 7 of 1 : 2 : 6 is 4.67, so 5 of the third; 2 of 1 : 2 is 1.33, so 1. From the other end it would be 1, 2, 4.
    assert served(np.log([1.0, 2.0, 6.0]), np.array([9, 9, 9]), 7, 1.0).tolist() == [1, 1, 5]
    assert served(np.array([0.0, 500.0, 499.0]), np.array([4, 1, 2]), 5, 0.1).tolist() == [2, 1, 2]


def directly(unit: np.ndarray, labels: np.ndarray, centres: np.ndarray, budget: int) -> set[int]:
    """The published rule in plain loops, temperature 0.1, mask 0.9, σ 1; the clusters are never too small."""
    clusters = [np.flatnonzero(labels == label).tolist() for label in range(len(centres))]
    half = centres.shape[1] // 2
    text = [centre[half:] / np.linalg.norm(centre[half:]) for centre in centres]
    scores = []
    for k, members in enumerate(clusters):
        cosines = [float(text[k] @ text[j]) for j in range(len(centres)) if j != k and text[k] @ text[j] <= 0.9]
        scores.append((np.mean(cosines) if cosines else 0.0) / kernel_of(unit[members]).mean())
    left, waiting, kept = budget, sorted(range(len(centres)), key=lambda k: -scores[k]), set()
    while waiting:
        soft = np.exp(np.array([scores[k] for k in waiting]) / 0.1)
        members = clusters[waiting[0]]
        count = min(len(members), round(left * float(soft[0] / soft.sum())))
        kernel, taken = kernel_of(unit[members]), []
        for _ in range(count):
            free = [c for c in range(len(members)) if c not in taken]
            taken.append(min(free, key=lambda c: discrepancy(kernel, [*taken, c])))
        kept |= {members[c] for c in taken}
        left -= count
        waiting = waiting[1:]
    assert left == 0, "or what is handed back is not in this reading"
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_is_the_published_rule(seed: int) -> None:
    pool = talking_pool(60)
    order = by_content(pool)
    values = units(60, 6, seed)
    found = kmeans(Vectors(values, order, unit=True), 4, np.random.default_rng(seed), spherical=True, iterations=50)
    method = Coincide(clusters=4, rows_per_cluster=10)
    (feature,) = method.needs().features
    stored = values * np.random.default_rng(9).uniform(0.5, 2, (60, 1))  # rounding on disk leaves no length at 1
    subset = chosen(method, pool, {feature: stored}, 12, seed=seed)
    expected = directly(values[order], found.labels, found.centres, 12)
    assert set(subset.rows.tolist()) == {int(order[place]) for place in expected}


def test_identical_rows_are_taken_by_what_they_say() -> None:
    values = np.repeat(units(20, 6, 0), 3, axis=0)
    method = Coincide(rows_per_cluster=6)
    (feature,) = method.needs().features
    keeps_its_rows_in_another_order(method, talking_pool(60), {feature: values}, 25)
