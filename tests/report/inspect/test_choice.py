"""What is found in a choice before anything is drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import jaccard_score

from selectmm.methods.order import ranked
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from selectmm.report.inspect.choice import overlap, overlap_by_chance
from tests.report.inspect.material import choice_of, plain_pool

NAN = float("nan")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return plain_pool(tmp_path_factory.mktemp("pool"), 6)


@pytest.mark.parametrize(
    ("scores", "kept", "cuts", "prefers_low"),
    [
        ([6, 5, 4, 3, 2, 1], [0, 1], (5,), False),  # the high end
        ([6, 5, 4, 3, 2, 1], [4, 5], (2,), True),  # the low end
        ([6, 5, 4, 3, 2, 1], [2, 3], (3, 4), False),  # the middle
        ([6, 5, 4, 3, 2, 1], [0, 5], (1, 6), False),  # both ends
        ([6, 5, 5, 5, 5, 1], [0, 2, 4], (5,), False),  # ties at the cut, of which some were kept
        ([6, 5, 4, 3, 2, 1], [0, 2, 4], (), False),  # something else decided
        ([6, 5, NAN, 3, NAN, 1], [0, 1, 2], (5,), False),  # rows without a score do not count
        ([6, 5, 4, 3, 2, 1], [0, 1, 2, 3, 4, 5], (), False),  # all
        ([6, 5, 4, NAN, NAN, NAN], [3], (), False),  # none of the scored ones
        ([6, 5, 4, 3, 2, 1], [0, 0, 1], (5,), False),  # one of them twice
        ([3, 3, 3, 3, 3, 3], [0, 1], (3,), False),  # scores decided nothing, position did
        (None, [0, 1], (), False),
    ],
)
def test_cuts_are_where_scores_part_kept_from_dropped(
    scores: list[float] | None, kept: list[int], cuts: tuple[float, ...], prefers_low: bool, pool: Pool
) -> None:
    choice = choice_of(pool, kept, scores)
    assert choice.cuts == cuts
    assert choice.prefers_low == prefers_low


@given(
    scores=st.lists(st.integers(-3, 3), min_size=6, max_size=6),
    count=st.integers(1, 5),
    keep=st.sampled_from(["high", "low"]),
)
def test_a_ranking_is_cut_at_its_last_kept_score_however_many_rows_tie(
    scores: list[int], count: int, keep: str, pool: Pool
) -> None:
    choice = choice_of(pool, ranked(np.array(scores, float), count, keep).tolist(), scores)
    assert choice.cuts == (float(sorted(scores, reverse=keep == "high")[count - 1]),)


def test_scored_rows_come_by_falling_score_and_ties_by_position(pool: Pool) -> None:
    assert choice_of(pool, [0], [1, 2, NAN, 2, float("inf"), 0]).scored.tolist() == [1, 3, 0, 5]


def test_overlap_is_the_jaccard_index_of_different_rows() -> None:
    subsets = [Subset(np.array(rows)) for rows in ([0, 1, 1, 2], [2, 3], [4, 5])]
    found = overlap(subsets)
    inside = [np.isin(np.arange(6), subset.rows) for subset in subsets]
    expected = [[jaccard_score(a, b) for b in inside] for a in inside]
    np.testing.assert_allclose(found, expected)
    assert found[0, 1] == 1 / 4


def test_overlap_by_chance_is_what_random_draws_have() -> None:
    rng = np.random.default_rng(0)
    draws = [[Subset(rng.choice(1000, size, replace=False)) for size in (300, 150)] for _ in range(300)]
    mean = np.mean([overlap(pair)[0, 1] for pair in draws])
    assert overlap_by_chance(*draws[0], 1000) == pytest.approx(mean, abs=0.002)
