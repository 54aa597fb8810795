"""VisNec by hand, and against a direct reading of its definition."""

import numpy as np
import pytest

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import NO_ANSWER, Feature
from selectmm.features.sentences import QuestionEmbedding
from selectmm.methods.check import pool_of
from selectmm.methods.visnec import VisNec
from selectmm.pool.pool import Pool
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def values(sighted: list[float], blind: list[float], questions: np.ndarray) -> dict[Feature, np.ndarray]:
    return {
        AnswerLoss(): np.array(sighted),
        BlindLoss("mask"): np.array(blind),
        QuestionEmbedding(): np.asarray(questions, np.float32),
    }


def eight_rows() -> Pool:
    """Six questions about images, and two (rows 2 and 7) without."""
    return pool_of([("s", f"question {row}", None if row in (2, 7) else f"{row}.png") for row in range(8)])


def test_every_kind_of_question_gives_the_rows_that_need_their_image_most() -> None:
    """By hand: two kinds of four rows, half of each is kept; a text row's 0 is above an image that hurts."""
    kinds = [[0, 1], [0, 1.01], [0, 1.02], [0, 1.03], [9, 0], [9.01, 0], [9.02, 0], [9.03, 0]]
    sighted = [1.0, 2.0, 0.5, 1.0, 1.0, 1.0, 1.0, 3.0]
    blind = [3.0, 1.5, 0.0, 1.5, 0.9, 1.2, 0.5, 0.0]
    subset = chosen(VisNec(clusters=2), eight_rows(), values(sighted, blind, np.array(kinds)), 4)
    assert subset.scores == pytest.approx([2.0, -0.5, 0.0, 0.5, -0.1, 0.2, -0.5, 0.0])
    assert subset.rows.tolist() == [0, 3, 5, 7]


def test_a_row_without_an_answer_token_comes_last_and_is_counted() -> None:
    sighted, blind = [NO_ANSWER, 1, NO_ANSWER, 1, 1, 1, 1, 1], [NO_ANSWER, 0, 0, 0, 0, 0, 0, 0]
    subset = chosen(VisNec(clusters=1), eight_rows(), values(sighted, blind, np.zeros((8, 2))), 6)
    assert np.flatnonzero(np.isnan(subset.scores)).tolist() == [0, 2]
    assert subset.rows.tolist() == [1, 3, 4, 5, 6, 7]
    assert subset.excluded == {"no answer token within recipe.max_length": 2}


def test_quotas_are_shares_of_the_clusters_rounded_to_the_budget() -> None:
    """Clusters of 70 and 31 rows give 10.40 and 4.60 of 15, so 10 and 5."""
    kind, spread = np.repeat([0.0, 100.0], [70, 31]), np.random.default_rng(0).normal(size=(101, 2))
    given = values([1.0] * 101, [1.0] * 101, np.c_[kind, spread])
    subset = chosen(VisNec(clusters=2), talking_pool(101), given, 15)
    assert np.bincount(subset.rows >= 70).tolist() == [10, 5]


@pytest.mark.parametrize("seed", range(3))
def test_rows_that_tie_are_taken_by_what_they_say(seed: int) -> None:
    """Losses of three values only: whole groups of rows score alike."""
    pool, rng = talking_pool(60), np.random.default_rng(seed)
    sighted, blind = (rng.integers(1, 4, 60).astype(float) for _ in range(2))
    given = values(sighted, np.where(pool.image_of < 0, 0, blind), rng.normal(size=(60, 4)).round())
    keeps_its_rows_in_another_order(VisNec(clusters=4), pool, given, 20)
