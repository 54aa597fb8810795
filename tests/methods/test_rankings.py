"""Methods that keep an end of a ranking: which end, and what becomes of rows that have no place in it."""

import numpy as np
import pyarrow as pa
import pytest

from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.feature import NO_ANSWER, Feature, Features, Targets
from selectmm.features.gradients import GradientNorm
from selectmm.features.states import WeightedStates
from selectmm.features.tokens import TokenCount
from selectmm.methods.check import invented_pool, pool_of
from selectmm.methods.clip_score import ByClipScore
from selectmm.methods.el2n import El2n
from selectmm.methods.grand import Grand
from selectmm.methods.ifd import ALONE, GIVEN, Ifd
from selectmm.methods.length import Length
from selectmm.methods.method import Method
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.perplexity import Perplexity
from selectmm.methods.rds_plus import RdsPlus, round_robin
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

LOSSES = np.array([0.5, NO_ANSWER, 2.0, 0.1, 1.0, 3.0])


def select(method: Method, values: dict[Feature, np.ndarray], budget: int) -> Subset:
    pool = pool_of([("a", f"q{i}", f"{i}.png") for i in range(len(next(iter(values.values()))))])
    return method.select(pool, Features(values), budget, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("keep", "two", "five"), [("low", [0, 3], [0, 2, 3, 4, 5]), ("medium", [0, 4], None), ("high", [2, 5], None)]
)
def test_perplexity_keeps_the_end_that_it_is_told(keep: str, two: list[int], five: list[int] | None) -> None:
    subset = select(Perplexity(keep=keep), {AnswerLoss(): LOSSES}, 2)
    assert subset.rows.tolist() == two
    assert subset.scores == pytest.approx(np.exp([0.5, np.nan, 2.0, 0.1, 1.0, 3.0]), nan_ok=True)
    assert subset.excluded == {"no answer token within recipe.max_length": 1}
    assert select(Perplexity(keep=keep), {AnswerLoss(): LOSSES}, 5).rows.tolist() == (five or [0, 2, 3, 4, 5])
    assert select(Perplexity(keep=keep), {AnswerLoss(): LOSSES}, 6).rows.tolist() == [0, 1, 2, 3, 4, 5]


def test_el2n_keeps_the_highest_errors() -> None:
    subset = select(El2n(), {AnswerError(): np.array([0.5, NO_ANSWER, 1.2, 0.1])}, 2)
    assert subset.rows.tolist() == [0, 2]
    assert subset.scores.tolist() == pytest.approx([0.5, np.nan, 1.2, 0.1], nan_ok=True)
    assert subset.excluded == {"no answer token within recipe.max_length": 1}


def test_grand_keeps_the_largest_gradients_of_its_scope() -> None:
    values = {GradientNorm("all_linear"): np.array([0.5, 0.0, 1.2, 0.1])}
    assert select(Grand(scope="all_linear"), values, 2).rows.tolist() == [0, 2]


def test_length_keeps_the_most_tokens_and_of_two_that_tie_the_same_in_any_order() -> None:
    """Which one follows from what the rows say: not always the earlier, nor always the later."""
    tokens, kept = np.array([7, 9, 7, 30], np.int32), set()
    for seed in range(8):
        pool = pool_of([("a", f"{seed} {row}", None) for row in range(4)])
        (first,) = set(Length().select(pool, Features({TokenCount(): tokens}), 3, None).rows.tolist()) - {1, 3}
        order = np.array([2, 3, 0, 1])
        moved = Pool(pool.table.take(pa.array(order)), None, "moved")
        (again,) = set(Length().select(moved, Features({TokenCount(): tokens[order]}), 3, None).rows.tolist()) - {3, 1}
        assert order[again] == first
        kept.add(first)
    assert kept == {0, 2}


def test_clip_score_keeps_the_best_fits() -> None:
    method = ByClipScore("somewhere")
    (feature,) = method.needs().features
    assert select(method, {feature: np.array([0.1, -0.5, 0.3, 0.2])}, 2).rows.tolist() == [2, 3]


def test_ifd_keeps_the_highest_ratio_below_one_and_then_the_nearest_above() -> None:
    given = np.array([0.5, 3.0, NO_ANSWER, 0.9, 1.1, 0.2])
    alone = np.array([1.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    order = [3, 0, 5, 4, 1, 2]  # 0.9, 0.5, 0.2, then 1.1, 3.0, then the row without an answer
    for budget in range(1, 7):
        subset = select(Ifd(), {GIVEN: given, ALONE: alone}, budget)
        assert subset.rows.tolist() == sorted(order[:budget])
    assert subset.scores == pytest.approx(np.array([0.5, 3.0, np.nan, 0.9, 1.1, 0.2]), nan_ok=True)
    assert subset.excluded == {"no answer token within recipe.max_length": 1, "question does not help (IFD ≥ 1)": 2}


def test_an_answer_that_is_certain_by_itself_is_not_divided_by_zero() -> None:
    subset = select(Ifd(), {GIVEN: np.array([0.5, 0.0]), ALONE: np.array([0.0, 0.0])}, 1)
    assert np.isfinite(subset.scores).all()


def test_examples_take_turns_in_choosing() -> None:
    similar = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.1, 0.3]])
    assert round_robin(similar, 4).tolist() == [0, 3, 1, 2]
    assert round_robin(np.zeros((2, 3)), 3).tolist() == [0, 1, 2], "ties go to the earlier row"


def test_rds_plus_ranks_by_cosine() -> None:
    rng = np.random.default_rng(0)
    pool = pool_of([("a", f"q{i}", None) for i in range(12)])
    examples = pool_of([("t", f"e{i}", None) for i in range(3)])
    rows, wanted, feature = rng.normal(size=(12, 5)), rng.normal(size=(3, 5)), WeightedStates()
    features = Features({feature: rows}, Targets(examples, {feature: wanted}))
    subset = RdsPlus().select(pool, features, 3, np.random.default_rng(0))
    cosines = np.array([[e @ r / np.linalg.norm(e) / np.linalg.norm(r) for r in rows] for e in wanted])
    assert subset.scores == pytest.approx(cosines.max(0), abs=1e-6)
    free = list(range(12))
    for example in cosines:
        free.remove(max(free, key=lambda row: example[row]))
    assert sorted(set(range(12)) - set(free)) == subset.rows.tolist()


def test_each_of_several_identical_rows_is_drawn_by_itself() -> None:
    """Of A, A, B, B a uniform draw of two has one of each four times in six; the same content in any order of rows."""
    pools = [pool_of([("toy", text, None) for text in order]) for order in ("AABB", "BABA")]
    mixed = 0
    for seed in range(600):
        drawn = []
        for pool in pools:
            rows = ranked(random_keys(pool, np.random.default_rng(seed)), 2, "low")
            drawn.append(sorted(pool[int(row)].turns[0].text for row in rows))
        assert drawn[0] == drawn[1]
        mixed += drawn[0][0] != drawn[0][1]
    assert mixed / 600 == pytest.approx(4 / 6, abs=0.08)


def test_rows_without_a_gradient_come_last_and_are_counted() -> None:
    pool = invented_pool(6)
    (feature,) = Grand().needs().features
    norms = np.array([0.0, 3.0, 1.0, 0.0, 2.0, 5.0], np.float32)
    subset = Grand().select(pool, Features({feature: norms}), 4, np.random.default_rng(0))
    assert set(subset.rows.tolist()) == {1, 2, 4, 5} and np.isnan(subset.scores[[0, 3]]).all()
    assert subset.excluded == {"no answer token within recipe.max_length": 2}
