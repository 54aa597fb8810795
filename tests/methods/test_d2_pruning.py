"""D2 pruning by hand, and against the published rule in plain loops."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectmm.features.margin import NO_MARGIN, AnswerMargin
from selectmm.methods.check import pool_of
from selectmm.methods.content import by_content
from selectmm.methods.d2_pruning import STATES, D2Pruning, descend
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def test_by_hand_a_row_that_is_taken_lowers_its_neighbour() -> None:
    """States 0, 1 and 10 on a line, one neighbour each, margins 0.5, 0.4, 0.3; D is 1, 1 and 81.

    g = 0.5 + 0.4/e = 0.647, 0.4 + 0.5/e = 0.584, 0.3. Row 0 is taken, and row 1 falls by 0.647 · exp(−0.4) = 0.434 to
    0.150: row 2 is next. With γ = 5 it falls by 0.004 alone, and is next itself.
    """
    pool = pool_of([("s", f"question {row}", None) for row in range(3)])
    values = {AnswerMargin(): np.array([0.5, 0.4, 0.3]), STATES: np.array([[0.0], [1.0], [10.0]])}
    subset = chosen(D2Pruning(neighbours=1), pool, values, 2)
    assert subset.scores == pytest.approx([0.5 + 0.4 / np.e, 0.4 + 0.5 / np.e, 0.3])
    assert subset.rows.tolist() == [0, 2]
    assert chosen(D2Pruning(neighbours=1, gamma=5.0), pool, values, 2).rows.tolist() == [0, 1]
    far = chosen(D2Pruning(neighbours=1, forward_gamma=0.0), pool, values, 1)
    assert far.scores == pytest.approx([0.9, 0.9, 0.7])
    hard = chosen(D2Pruning(neighbours=1, keep="hard"), pool, values | {AnswerMargin(): np.array([0.5, -0.4, 0.3])}, 1)
    assert hard.rows.tolist() == [1] and hard.scores == pytest.approx([0.4 / np.e, 0.4, 0], abs=1e-6)


def directly(margins: np.ndarray, states: np.ndarray, k: int, gamma: float, forward: float, count: int) -> list[int]:
    """All distances, all values again at each step."""
    n = len(states)
    away = [[float(((states[i] - states[j]) ** 2).sum()) for j in range(n)] for i in range(n)]
    near = [sorted((j for j in range(n) if j != i), key=lambda j: (away[i][j], j))[:k] for i in range(n)]
    own = [max(margin, 1e-7) for margin in margins]
    g = {i: own[i] + sum(np.exp(-forward * away[i][j]) * own[j] for j in near[i]) for i in range(n)}
    taken = []
    for _ in range(count):
        best = max(g, key=lambda i: (g[i], -i))
        value = g.pop(best)
        taken.append(best)
        for j in near[best]:
            if j in g:
                g[j] -= value * np.exp(-gamma * away[best][j])
    return taken


@given(st.integers(2, 20), st.integers(1, 6), st.integers(0, 999), st.booleans(), st.floats(0, 2))
@settings(max_examples=40)
def test_the_whole_is_the_published_rule(rows: int, k: int, seed: int, normalise: bool, gamma: float) -> None:
    rng = np.random.default_rng(seed)
    pool = talking_pool(rows)
    margins, states = rng.uniform(-1, 1, rows), rng.normal(size=(rows, 3))
    used = states / np.linalg.norm(states, axis=1, keepdims=True) if normalise else states
    order = by_content(pool)  # in which the earlier of two equal rows is taken
    expected = order[directly(margins[order], used[order], k, gamma, 0.7, rows // 2 + 1)].tolist()
    method = D2Pruning(neighbours=k, gamma=gamma, forward_gamma=0.7, normalise=normalise)
    subset = chosen(method, pool, {AnswerMargin(): margins, STATES: states}, rows // 2 + 1)
    assert subset.rows.tolist() == sorted(expected)


def test_of_equal_values_the_earlier_is_taken_and_old_entries_are_passed_over() -> None:
    found, weights = np.array([[1], [2], [0]]), np.array([[0.5], [0.5], [0.5]])
    assert descend(np.array([1.0, 1.0, 1.0]), found, weights, 3).tolist() == [0, 2, 1]


def test_a_row_without_an_answer_counts_nothing_and_the_kernel_is_told(caplog: pytest.LogCaptureFixture) -> None:
    pool = talking_pool(4)
    values = {AnswerMargin(): np.array([0.5, NO_MARGIN, 0.2, 0.3]), STATES: 100 * np.eye(4)}
    with caplog.at_level(logging.INFO, "selectmm"):
        subset = chosen(D2Pruning(), pool, values, 3)
    assert subset.rows.tolist() == [0, 2, 3] and subset.scores == pytest.approx([0.5, 0, 0.2, 0.3], abs=1e-6)
    assert subset.excluded == {"no answer token within recipe.max_length (value 0)": 1}
    assert "the median of exp(−D) over neighbours is 0" in caplog.text


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    rng = np.random.default_rng(0)
    values = {AnswerMargin(): rng.integers(-1, 2, 60) / 2, STATES: rng.integers(0, 2, (60, 3)).astype(float)}
    for keep in ("easy", "hard"):
        keeps_its_rows_in_another_order(D2Pruning(keep=keep), talking_pool(60), values, 20)
