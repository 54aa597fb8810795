"""The standard error against formulas and simulation."""

import numpy as np
import pytest

from selectmm.evaluation.standard_error import standard_error

RNG = np.random.default_rng(2)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_of_a_mean_over_independent_items() -> None:
    parts = RNG.random(50)
    assert standard_error(parts, parts.mean(), rng()) == pytest.approx(parts.std(ddof=1) / 50**0.5)


def test_copies_of_an_item_add_nothing() -> None:
    parts = RNG.random(20)
    copies, pictures = np.repeat(parts, 6), np.repeat(np.arange(20), 6)
    alone = standard_error(parts, parts.mean(), rng())
    assert standard_error(copies, parts.mean(), rng(), clusters=pictures) == pytest.approx(alone)
    assert standard_error(copies, parts.mean(), rng()) < 0.5 * alone


def test_it_is_the_spread_of_the_mean_when_pictures_are_drawn_again() -> None:
    """Simulation: 60 pictures with 5 questions each, half of the variance shared by a picture's questions."""
    means, errors = [], []
    for _ in range(400):
        parts = (RNG.normal(size=(60, 1)) + RNG.normal(size=(60, 5))).ravel()
        means.append(parts.mean())
        errors.append(standard_error(parts, parts.mean(), rng(), clusters=np.repeat(np.arange(60), 5)))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.12)


def test_the_bootstrap_draws_pictures_within_strata() -> None:
    """A ratio, so that no formula applies; the copies of a unit again add nothing."""
    parts = RNG.random(12) + np.repeat([0, 5], 6)
    strata, pictures = np.repeat(["a", "b"], 12), np.repeat(np.arange(12), 2)

    def ratio(of: np.ndarray) -> float:
        return float((of**2).mean() / of.mean())

    copies = np.repeat(parts, 2)
    one = standard_error(parts, ratio(parts), rng(), lambda drawn: ratio(parts[drawn]), strata[::2])
    both = standard_error(copies, ratio(parts), rng(), lambda drawn: ratio(copies[drawn]), strata, pictures)
    assert both == pytest.approx(one)
    assert one < standard_error(parts, ratio(parts), rng(), lambda drawn: ratio(parts[drawn]))


def test_what_has_no_error() -> None:
    assert standard_error(None, 1.0, rng()) is None
    assert standard_error([1.0], 1.0, rng()) is None
    assert standard_error([1.0, 0.0], 0.5, rng(), clusters=["one", "one"]) is None
    assert standard_error([1.0, 0.0], 0.9, rng()) is None
