"""The tests of a difference against scipy's own, textbook values and another formula."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, bootstrap

from selectmm.evaluation.outcome import Answer
from selectmm.statistics.paired import RESAMPLES, holm, jackknife, mcnemar, paired_bootstrap
from selectmm.statistics.tally import Tally, tally

RNG = np.random.default_rng(1)


def answers(scores: np.ndarray, images: list[str] | None = None, strata: list[str] | None = None) -> list[Answer]:
    images, strata = images or [""] * len(scores), strata or [""] * len(scores)
    return [
        Answer(str(n), "", "yes", "yes", float(score), image, str(n), stratum)
        for n, (score, image, stratum) in enumerate(zip(scores, images, strata, strict=True))
    ]


def test_without_pictures_it_is_scipys_paired_bootstrap() -> None:
    first, second = RNG.random((2, 60))
    mine = paired_bootstrap(_mean(first), _mean(second), np.random.default_rng(3))
    theirs = bootstrap(
        (100 * first, 100 * second),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(3),
    )
    assert (mine.low, mine.high) == pytest.approx(tuple(theirs.confidence_interval))
    assert mine.value == pytest.approx(100 * (first.mean() - second.mean()))


@pytest.mark.parametrize("strata", [None, ["a"] * 20 + ["b"] * 40])
def test_the_jackknife_of_a_mean_is_the_textbooks(strata: list[str] | None) -> None:
    """s²/n; over strata the sum of each one's, by its share of the whole."""
    scores = RNG.random(60)
    found = jackknife(_mean(scores, strata=strata).without_each, strata or ["a"] * 60)
    parts = [scores] if strata is None else [scores[:20], scores[20:]]
    assert strata or found == pytest.approx(100**2 * scores.var(ddof=1) / 60)
    assert found == pytest.approx(sum((100 * len(p) / 60) ** 2 * p.var(ddof=1) / len(p) for p in parts), rel=0.05)


def test_the_jackknife_of_f1_is_the_bootstraps() -> None:
    """POPE's metric is no mean; the bootstrap knows nothing of leaving one out."""
    true, said = RNG.integers(0, 2, (2, 300))
    words = np.array(["no", "yes"])
    given = [
        Answer(str(n), "", words[t], words[s], float(t == s)) for n, (t, s) in enumerate(zip(true, said, strict=True))
    ]
    found = tally(given, "pope_f1_score")
    drawn = found.sums[RNG.integers(0, 300, (4_000, 300))].sum(axis=1)
    assert jackknife(found.without_each, found.strata) == pytest.approx(found.value(drawn).var(), rel=0.1)


def test_items_of_one_picture_are_drawn_together() -> None:
    """Eight copies of each of 30 items are 30 independent pieces, not 240: the interval is that of the 30."""
    first, second = RNG.integers(0, 2, (2, 30)).astype(float)
    pictures = [f"picture {n // 8}" for n in range(240)]
    copies = [_mean(np.repeat(side, 8), pictures) for side in (first, second)]
    apart = [_mean(np.repeat(side, 8)) for side in (first, second)]
    alone = paired_bootstrap(_mean(first), _mean(second), np.random.default_rng(3))
    together = paired_bootstrap(*copies, np.random.default_rng(3))
    assert (together.low, together.high, together.p) == pytest.approx((alone.low, alone.high, alone.p))
    narrow = paired_bootstrap(*apart, np.random.default_rng(3))
    assert narrow.high - narrow.low < 0.5 * (together.high - together.low)


def test_the_interval_is_that_of_the_normal_approximation_for_many_clusters() -> None:
    """Clusters of equal size: the standard error of the mean is that of the cluster means."""
    first, second = (RNG.random((400, 1)) + RNG.random((400, 5)) for _ in range(2))
    pictures = [f"picture {n // 5}" for n in range(2000)]
    found = paired_bootstrap(*(_mean(side.ravel(), pictures) for side in (first, second)), np.random.default_rng(3))
    error = 100 * (first - second).mean(axis=1).std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_strata_keep_their_sizes() -> None:
    """Within strata of equal items nothing varies, however different the strata are."""
    scores, strata = np.repeat([1.0, 0.0], 20), ["a"] * 20 + ["b"] * 20
    other = np.zeros(40)
    found = paired_bootstrap(_mean(scores, strata=strata), _mean(other, strata=strata), np.random.default_rng(3))
    assert (found.low, found.high) == (50, 50)
    loose = paired_bootstrap(_mean(scores), _mean(other), np.random.default_rng(3))
    assert loose.low < 45


def test_one_model_against_itself_is_noise_and_one_cluster_says_nothing() -> None:
    same = _mean(RNG.random(20))
    found = paired_bootstrap(same, same, np.random.default_rng(3))
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)
    single = _mean(np.ones(5), ["one picture"] * 5)
    assert paired_bootstrap(single, single, np.random.default_rng(3)) is None


def test_under_no_difference_the_bootstraps_p_is_rarely_small() -> None:
    drawn = [RNG.integers(0, 2, (2, 80)).astype(float) for _ in range(30)]
    p = [paired_bootstrap(_mean(a), _mean(b), np.random.default_rng(3)).p for a, b in drawn]
    assert sum(value <= 0.05 for value in p) <= binom.ppf(0.999, 30, 0.06)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_mcnemar_is_the_share_of_sign_patterns_at_least_as_uneven(pairs: list[tuple[bool, bool]]) -> None:
    first, second = np.array(pairs).T
    uneven = [a for a, b in pairs if a != b]
    lean = abs(2 * sum(uneven) - len(uneven))
    patterns = list(product((0, 1), repeat=len(uneven)))
    expected = np.mean([abs(2 * sum(pattern) - len(uneven)) >= lean for pattern in patterns])
    assert mcnemar(first, second) == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    first, second = np.array([True] * 9 + [False]), np.array([False] * 8 + [True] + [False])
    assert mcnemar(first, second) == pytest.approx(2 / 2**8)  # 8 items to none
    assert mcnemar(first, first) == 1


def test_holm_by_hand() -> None:
    # 0.01·3 = 0.03; 0.02·2 = 0.04; 0.03·1 = 0.03, which may not fall below the one before.
    assert holm([0.02, 0.03, 0.01]) == pytest.approx([0.04, 0.04, 0.03])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    rejected, left = set(), sorted(range(len(p)), key=lambda n: p[n])
    while left and p[left[0]] * len(left) <= 0.05:
        rejected.add(left.pop(0))
    assert {n for n, adjusted in enumerate(holm(p)) if adjusted <= 0.05} == rejected


def _mean(scores: np.ndarray, images: list[str] | None = None, strata: list[str] | None = None) -> Tally:
    found = tally(answers(scores, images, strata), "exact_match")
    assert found is not None
    return found
