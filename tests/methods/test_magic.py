"""MAGIC's parts by hand, and the whole against the paper's steps in plain words."""

import math

import numpy as np
import pytest

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.feature import NO_ANSWER, Feature
from selectmm.methods.content import by_content
from selectmm.methods.magic import LOOK, Magic, scaled, shared
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def test_scaling_is_by_median_and_quartiles_and_cut_at_three() -> None:
    over = np.array([0.0, 1, 2, 3, 4])  # quartiles 1, 2, 3
    assert scaled(np.array([2.0, 3, 8, 9, -5]), over, "iqr", 3.0).tolist() == [0, 0.5, 3, 3, -3]
    assert scaled(np.array([1.0, 5.5]), np.ones(3), "iqr", 3.0).tolist() == [0, 3]
    assert scaled(np.array([2.0, 8]), over, "iqr", None).tolist() == [0, 3]
    assert scaled(np.array([2.0, 12]), over, "iqr", None).tolist() == [0, 5]


def test_scaling_by_the_median_absolute_deviation() -> None:
    """Of 0, 1, 2, 4, 9 the median is 2 and the distances from it 2, 1, 0, 2, 7, whose median is 2."""
    over = np.array([0.0, 1, 2, 4, 9])
    assert scaled(np.array([2.0, 4]), over, "mad", None) == pytest.approx([0, 1 / 1.4826], abs=1e-5)
    assert scaled(np.array([1.0, 5.5]), np.array([1.0, 1, 1, 8]), "mad", 3.0).tolist() == [0, 3], "1 where it is 0"


def test_shares_are_rounded_down_cut_and_filled_by_remainder() -> None:
    """10 by 5 : 3 : 1 : 1 are 5, 3, 1, 1; by 6 : 3 : 3 of 12 they are exact; 7 by 1 : 1 : 1 leaves one over."""
    assert shared(np.array([5.0, 3, 1, 1]), np.array([9, 9, 9, 9]), 10).tolist() == [5, 3, 1, 1]
    assert shared(np.array([5.0, 3, 1, 1]), np.array([2, 9, 9, 9]), 10).tolist() == [2, 3, 1, 1], "not shared again"
    assert shared(np.array([1.0, 1, 1]), np.array([9, 9, 9]), 7).tolist() == [3, 2, 2]
    assert shared(np.array([1.0, 1.2, 1]), np.array([9, 2, 9]), 7).tolist() == [3, 2, 2], "2.19, 2.63, 2.19"


def given(method: Magic, rows: int, seed: int) -> dict[Feature, np.ndarray]:
    rng = np.random.default_rng(seed)
    pool = talking_pool(rows)
    blind = np.where(pool.image_of < 0, 0, rng.uniform(0, 4, rows))
    (*_, signature) = method.needs().features
    looks = np.where(pool.image_of < 0, 0, rng.uniform(0, 0.3, rows))
    neurons = rng.integers(0, 3, (rows, 2)).astype(np.int32)
    return {AnswerLoss(): rng.uniform(0, 4, rows), BlindLoss(): blind, LOOK: looks, signature: neurons}


@pytest.mark.parametrize(("over", "spread"), [("kept", "iqr"), ("pool", "iqr"), ("kept", "mad")])
@pytest.mark.parametrize("seed", range(3))
def test_the_whole_is_the_papers_four_steps(over: str, spread: str, seed: int) -> None:
    rows, budget = 97, 20
    method = Magic(scale_over=over, bucket_cap=0.12, look=0.3, shortlist=1.93, spread=spread, cut=1.7)
    values, pool = given(method, rows, seed), talking_pool(rows)
    gain = [0.0 if pool.image_of[i] < 0 else values[BlindLoss()][i] - values[AnswerLoss()][i] for i in range(rows)]
    place = np.argsort(by_content(pool))  # text-only rows all have a gain of 0
    first = sorted(range(rows), key=lambda i: (-gain[i], place[i]))[:59]  # 58.2, rounded up
    basis = first if over == "kept" else list(range(rows))

    def robust(x: list[float], i: int) -> float:
        quarter, half, three = np.percentile([x[j] for j in basis], [25, 50, 75])
        width = three - quarter if spread == "iqr" else 1.482602 * np.median([abs(x[j] - half) for j in basis])
        return min(1.7, max(-1.7, (x[i] - half) / width))

    q = {i: 0.7 * robust(gain, i) + 0.3 * robust(values[LOOK].tolist(), i) for i in first}
    short = sorted(first, key=lambda i: -q[i])[:39]  # 38.6, rounded up
    (*_, signature) = method.needs().features
    buckets: dict[tuple, list[int]] = {}
    for i in short:
        buckets.setdefault(tuple(values[signature][i].tolist()), []).append(i)
    mass = {key: sum(math.exp(q[i] / 0.2) for i in members) for key, members in buckets.items()}
    exact = {key: budget * m / sum(mass.values()) for key, m in mass.items()}
    cap = {key: min(len(buckets[key]), math.ceil(0.12 * budget)) for key in buckets}
    count = {key: min(cap[key], math.floor(exact[key])) for key in buckets}
    over_ = budget - sum(math.floor(x) for x in exact.values())
    for key in sorted(buckets, key=lambda k: -(exact[k] % 1)):
        if over_ and count[key] < cap[key]:
            count[key] += 1
            over_ -= 1
    kept = [i for key, members in buckets.items() for i in members[: count[key]]]
    kept += [i for i in short if i not in kept][: budget - len(kept)]
    subset = chosen(method, pool, values, budget)
    assert subset.rows.tolist() == sorted(kept)
    assert subset.scores[first] == pytest.approx([q[i] for i in first], abs=1e-6)


def test_a_budget_beyond_the_filters_takes_the_rest_by_what_the_image_is_worth() -> None:
    method, pool = Magic(), talking_pool(30)
    values = given(method, 30, 5)
    values[AnswerLoss()][3] = NO_ANSWER
    subset = chosen(method, pool, values, 29)
    assert subset.rows.tolist() == [row for row in range(30) if row != 3]
    assert subset.excluded == {"no answer token within recipe.max_length": 1}


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    method = Magic(bucket_cap=0.2)
    values = {f: v if v.ndim > 1 else v.round() for f, v in given(method, 60, 7).items()}
    keeps_its_rows_in_another_order(method, talking_pool(60), values, 20)
