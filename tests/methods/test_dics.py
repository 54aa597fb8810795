"""DICS by hand, and farthest-point sampling against its plain form."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selectmm.methods import farthest as module
from selectmm.methods.check import pool_of
from selectmm.methods.clustering import Vectors
from selectmm.methods.content import by_content
from selectmm.methods.dics import STATES, Dics
from selectmm.methods.farthest import farthest
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def plainly(values: np.ndarray, count: int, given: int = 0) -> list[int]:
    """All vectors against each chosen one as soon as it is chosen; of equal ones the first."""
    picked = list(range(given)) or [int(np.argmax(np.round((values**2).sum(1), 9)))]
    while len(picked) < count:
        away = np.min([((values - values[p]) ** 2).sum(1) for p in picked], axis=0)
        away[picked] = -1
        picked.append(int(np.argmax(np.round(away, 9))))
    return picked[:count]


@pytest.mark.parametrize("rows", [7, 4096])
@pytest.mark.parametrize("first", [0, 5])
def test_blocks_choose_what_the_plain_form_chooses(rows: int, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    for seed in range(4):
        values = np.random.default_rng(seed).normal(size=(120, 3 + 5 * seed))
        assert farthest(Vectors(values, np.arange(120)), 60, first).tolist() == plainly(values, 60, first)


@settings(max_examples=60)
@given(st.integers(1, 25), st.integers(1, 3), st.integers(1, 6), st.randoms(use_true_random=False))
def test_ties_go_to_the_earlier_vector(rows: int, width: int, block: int, random: object) -> None:
    values = np.array([[random.randint(0, 2) for _ in range(width)] for _ in range(rows)], float)
    count = random.randint(1, rows)
    before = module.ROWS
    module.ROWS = block
    try:
        found = farthest(Vectors(values, np.arange(rows)), count).tolist()
    finally:
        module.ROWS = before
    assert found == plainly(values, count) and len(set(found)) == count


def test_few_vectors_meet_all_chosen_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """In few dimensions many bounds never come to be the largest."""
    monkeypatch.setattr(module, "ROWS", 16)
    met = 0
    once = module._Chosen._distances

    def counting(self: object, rows: object, squares: object, others: object, theirs: object) -> np.ndarray:
        nonlocal met
        met += len(rows) * len(others)
        return once(self, rows, squares, others, theirs)

    monkeypatch.setattr(module._Chosen, "_distances", counting)
    farthest(Vectors(np.random.default_rng(0).normal(size=(2000, 3)), np.arange(2000)), 400)
    assert met < 0.6 * 2000 * 400


def values(rows: int, seed: int) -> dict[object, np.ndarray]:
    rng = np.random.default_rng(seed)
    ratios = np.exp(rng.normal(size=(rows, 2)))
    return {Dics().needs().features[0]: ratios, STATES: rng.normal(size=(rows, 4))}


@pytest.mark.parametrize(("budget", "from_core"), [(15, False), (20, False), (28, False), (28, True), (40, False)])
@pytest.mark.parametrize("seed", range(8))
def test_the_whole_is_the_papers_rule(budget: int, from_core: bool, seed: int) -> None:
    pool, made = talking_pool(40), values(40, seed)
    order = by_content(pool)
    ratios, states = made[Dics().needs().features[0]], made[STATES]
    score = np.where(pool.image_of < 0, 1.0, np.round(ratios.min(1), 6))
    ranking = sorted(order.tolist(), key=lambda row: -score[row])  # stable: ties by content
    if budget == 20:
        expected = ranking[:20]
    else:
        core = ranking[: max(0, 2 * budget - 40)]
        others = sorted(ranking[len(core) : 2 * budget], key=order.tolist().index)
        given_ = core if from_core else []
        places = [*given_, *others]
        picked = plainly(states[places], budget - len(core) + len(given_), len(given_)) if others else []
        expected = core + [places[p] for p in picked[len(given_) :]]
    subset = chosen(Dics(from_core=from_core), pool, made, budget)
    assert subset.rows.tolist() == sorted(expected) and subset.scores == pytest.approx(score)


def test_by_hand_the_smaller_ratio_counts_and_text_is_one() -> None:
    pool = pool_of([("s", f"question {row}", None if row == 3 else f"{row}.png") for row in range(4)])
    ratios = np.array([[2.0, 0.5], [1.5, 3], [1.2, 1.2], [9, 9]])
    made = {Dics().needs().features[0]: ratios, STATES: np.ones((4, 2))}
    subset = chosen(Dics(), pool, made, 2)
    assert subset.scores.tolist() == [0.5, 1.5, 1.2, 1.0] and subset.rows.tolist() == [1, 2]


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    made = {feature: value.round() for feature, value in values(60, 1).items()}
    for budget in (12, 30, 45):
        keeps_its_rows_in_another_order(Dics(), talking_pool(60), made, budget)
