"""Kendall's τ by target and by source, its interval, and the noise ceiling, on matrices small enough to count."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from selectmm.errors import UserError
from selectmm.report.ceiling import ceiling, measure
from selectmm.report.ranking import gains, interval, tau_source, tau_target

METRIC = np.array([[1.0, 9.0], [2.0, 8.0], [3.0, 7.0]])
MEASURED = np.array([[1.0, 3.0], [3.0, 2.0], [2.0, 1.0]])


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_gain_is_relative_to_the_base() -> None:
    found = gains(np.array([0.5, 0.0]), np.array([[0.6, 0.2], [0.25, np.nan]]))
    np.testing.assert_allclose(found, [[0.2, np.nan], [-0.5, np.nan]])


def test_tau_counted_by_hand() -> None:
    # First target: two pairs agree, one does not; second: all agree. A source has one pair of targets.
    np.testing.assert_allclose(tau_target(METRIC, MEASURED), [1 / 3, 1.0])
    np.testing.assert_allclose(tau_source(METRIC, MEASURED), [1.0, -1.0, -1.0])


def test_tau_corrects_for_ties_as_tau_b() -> None:
    # Of three pairs one is tied in the metric and the others agree: 2 / √(3 · 2).
    found = tau_target(np.array([[1.0], [1.0], [2.0]]), np.array([[1.0], [2.0], [3.0]]))
    np.testing.assert_allclose(found, [2 / np.sqrt(6)])


def test_an_unknown_cell_leaves_its_pairs_out() -> None:
    metric, measured = rng().random((18, 11)), rng().random((18, 11)) ** 2
    measured[4, 3], metric[9, 3] = np.nan, np.nan
    known = [s for s in range(18) if s not in (4, 9)]
    expected = kendalltau(metric[known, 3], measured[known, 3]).statistic
    assert tau_target(metric, measured)[3] == pytest.approx(expected)
    assert tau_source(metric, measured).shape == (18,)


def test_what_cannot_be_ranked_is_unknown() -> None:
    one = np.array([[1.0, 5.0], [np.nan, 5.0]])
    assert np.isnan(tau_target(one, np.arange(4.0).reshape(2, 2))).all()  # one known pair; all tied


def test_without_the_diagonal_a_set_is_not_ranked_for_itself() -> None:
    metric, measured = rng().random((5, 5)), rng().random((5, 5)) ** 3 + np.eye(5)
    others = [0, 1, 3, 4]
    expected = kendalltau(metric[others, 2], measured[others, 2]).statistic
    assert tau_target(metric, measured, diagonal=False)[2] == pytest.approx(expected)
    assert not np.isnan(metric).any()  # the caller's matrix is as it was


def test_only_a_square_matrix_has_a_diagonal() -> None:
    with pytest.raises(UserError, match="3 × 2 matrix has no diagonal"):
        tau_target(METRIC, MEASURED, diagonal=False)


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(UserError, match=r"\(3, 2\).*\(2, 3\)"):
        tau_source(METRIC, MEASURED.T)


def test_the_interval_holds_the_mean_of_what_is_known() -> None:
    values = np.array([0.1, 0.9, np.nan, 0.5, 0.3])
    found = interval(values, rng())
    assert found.mean == pytest.approx(0.45) and found.count == 4
    assert 0.1 < found.low < found.mean < found.high < 0.9
    assert found == interval(values, rng())


def test_one_value_has_no_interval() -> None:
    found = interval(np.array([np.nan, 0.5]), rng())
    assert (found.mean, found.count) == (0.5, 1) and np.isnan([found.low, found.high]).all()


def test_many_items_lift_the_ceiling() -> None:
    base, after = np.full(3, 0.4), np.linspace(0.5, 0.7, 18).reshape(6, 3)
    few, many = (ceiling(base, after, items, 20, rng()) for items in (100, 1_000_000))
    assert few.again.mean() < few.best.mean() < 1
    np.testing.assert_allclose([many.best, many.again], 1)


@pytest.mark.parametrize("shared", [0.0, 0.6])
def test_a_measurement_has_the_right_mean(shared: float) -> None:
    accuracies = np.array([[0.2, 0.5], [0.7, 0.9]])
    np.testing.assert_allclose(measure(accuracies, 100_000, shared, rng()), accuracies, atol=0.01)


def test_shared_items_make_differences_steadier() -> None:
    accuracies = np.full((2, 300), 0.6)
    apart, together = (np.diff(measure(accuracies, 200, shared, rng()), axis=0).std() for shared in (0.0, 0.9))
    assert together < 0.7 * apart
