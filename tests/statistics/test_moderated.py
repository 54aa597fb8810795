"""Moderated variances: the equations of the paper, limits by hand, and properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma, polygamma
from scipy.stats import t

from selectmm.errors import UserError
from selectmm.statistics.moderated import moderated


def test_variances_that_differ_by_chance_alone_are_pooled() -> None:
    found = moderated([3.0, 4.0, 5.0, 4.0], [2, 2, 2, 4])
    assert [one.variance for one in found] == pytest.approx([(2 * 3 + 2 * 4 + 2 * 5 + 4 * 4) / 10] * 4)
    assert [one.freedom for one in found] == [10.0] * 4


def test_the_prior_solves_smyths_two_equations_and_each_variance_is_the_weighted_mean() -> None:
    """Section 6.2 of Smyth (2004), inverted: from the results alone, prior and own variances are found again."""
    own, free = np.array([0.01, 0.2, 1.0, 8.0, 300.0, 2.0]), 4
    found = moderated(list(own), [free] * 6)
    weight = found[0].freedom - free
    common = (found[0].variance * (weight + free) - free * own[0]) / weight
    logs = np.log(own) - digamma(free / 2) + np.log(free / 2)
    assert polygamma(1, weight / 2) == pytest.approx(logs.var(ddof=1) - polygamma(1, free / 2))
    assert np.log(common) == pytest.approx(logs.mean() + digamma(weight / 2) - np.log(weight / 2))
    for one, variance in zip(found, own, strict=True):
        assert one.variance == pytest.approx((weight * common + free * variance) / (weight + free))


def test_a_variance_of_zero_is_drawn_up_and_all_zero_is_refused() -> None:
    found = moderated([0.0, 4.0, 5.0, 6.0], [2, 2, 2, 2])
    assert 0 < found[0].variance < found[1].variance
    with pytest.raises(UserError, match="two or more of them and not all are zero"):
        moderated([0.0, 0.0], [2, 2])
    with pytest.raises(UserError, match="two or more of them"):
        moderated([1.0], [2])


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30), st.integers(1, 9), st.floats(1e-3, 1e3))
def test_order_is_kept_nothing_leaves_the_range_and_units_do_not_matter(
    own: list[float], free: int, unit: float
) -> None:
    found = [one.variance for one in moderated(own, [free] * len(own))]
    assert np.all(np.diff(np.array(found)[np.argsort(own)]) >= -1e-9 * max(found))
    scaled = [one.variance / unit for one in moderated([unit * one for one in own], [free] * len(own))]
    assert scaled == pytest.approx(found, rel=1e-4)
    assert all(free <= one.freedom <= free * len(own) + 1e-9 for one in moderated(own, [free] * len(own)))


def shares_called_different(rows: int, spread: float, tables: int = 1500) -> dict[str, tuple[float, float]]:
    """Simulated tables of random and equal methods, three seeds each, compared as reports do it, by Bonferroni's step.

    Args:
        rows: random's included. spread: standard deviation of the logarithm of a row's own standard deviation.

    Returns:
        By test, the share of tables in which a method is called different, and the share in which one that is 3
        standard deviations better is found.
    """
    rng, found = np.random.default_rng(0), {"welch": np.zeros(2), "moderated": np.zeros(2)}
    for _ in range(tables):
        runs = rng.normal(size=(rows, 3)) * np.exp(rng.normal(0, spread, (rows, 1)))
        own = runs.var(axis=1, ddof=1)
        shared = moderated(list(own), [2] * rows)
        free = np.array([one.freedom for one in shared])
        tests = {"welch": (own, np.full(rows, 2.0), np.inf)}
        tests["moderated"] = np.array([one.variance for one in shared]), free, 2.0 * rows
        apart = runs[1:].mean(axis=1) - runs[0].mean()
        for name, (variances, own_free, most) in tests.items():
            parts = variances / 3
            whole = parts[0] + parts[1:]
            joint = np.minimum(whole**2 / (parts[0] ** 2 / own_free[0] + parts[1:] ** 2 / own_free[1:]), most)
            p = 2 * t.sf(np.abs(apart) / np.sqrt(whole), joint)
            better = 2 * t.sf(np.abs(apart[0] + 3) / np.sqrt(whole[0]), joint[0])
            found[name] += [p.min() <= 0.05 / (rows - 1), better <= 0.05 / (rows - 1)]
    return {name: tuple(counts / tables) for name, counts in found.items()}


def test_of_tables_of_equal_methods_one_in_twenty_calls_one_different() -> None:
    """What statistics/README.md says of eleven rows; shares of 1,500 tables, give or take two standard errors."""
    shares = shares_called_different(rows=11, spread=0.0)
    assert shares["moderated"] == (pytest.approx(0.05, abs=0.012), pytest.approx(0.70, abs=0.024))
    assert shares["welch"] == (pytest.approx(0.02, abs=0.012), pytest.approx(0.14, abs=0.018))


def test_where_spreads_differ_by_a_factor_of_two_it_is_too_often() -> None:
    """The limit that statistics/README.md names; Welch's test has none there."""
    shares = shares_called_different(rows=11, spread=0.6)
    assert 0.08 < shares["moderated"][0] < 0.13 and shares["welch"][0] < 0.05
