"""The noise ceiling of a ranking: how well a benchmark of so many items agrees with itself, and with the truth."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from selectmm.report.ranking import gains, tau_target

# metric and gains, [sources, targets] each, to one τ per target (or source)
Tau = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Ceiling:
    """Mean τ of each draw, ``[draws]``.

    ``best`` is between the truth and one measurement: what a metric that knows the truth reaches. ``again`` is between
    two measurements: what repeating the whole experiment reaches.
    """

    best: np.ndarray
    again: np.ndarray


def ceiling(
    base: np.ndarray,
    after: np.ndarray,
    items: int,
    draws: int,
    rng: np.random.Generator,
    tau: Tau = tau_target,
    shared: float = 0.0,
) -> Ceiling:
    """Take accuracies as the truth, measure them twice on ``items`` fresh items, and rank again; ``draws`` times.

    If the accuracies were themselves measured, their spread has that noise in it already, so that the ceiling found
    is too high rather than too low. Noise of training (its seed) is not in it.

    Args:
        base: true accuracies before training in [0, 1], ``[targets]``.
        after: true accuracies after training, ``[sources, targets]``.
        shared: how much two models fail on the same items, as the correlation of their latent ability on an item
            (tetrachoric, in [0, 1)); 0 is an independent binomial for every cell.
    """
    truth = gains(base, after)
    accuracies = np.vstack([base, after])
    best, again = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        first, second = (_measured(accuracies, items, shared, rng) for _ in range(2))
        best[draw] = np.nanmean(tau(truth, first))
        again[draw] = np.nanmean(tau(first, second))
    return Ceiling(best, again)


def _measured(accuracies: np.ndarray, items: int, shared: float, rng: np.random.Generator) -> np.ndarray:
    found = measure(accuracies, items, shared, rng)
    return gains(found[0], found[1:])


def measure(accuracies: np.ndarray, items: int, shared: float, rng: np.random.Generator) -> np.ndarray:
    """Accuracies of models, ``[models, targets]``, as ``items`` drawn items show them; the same items for every model.

    A model answers an item if √shared·(the item) + √(1 − shared)·(its own luck), both standard normal, stays below
    the quantile of its accuracy (a Gaussian copula).
    """
    if shared == 0:
        return rng.binomial(items, accuracies) / items
    models, targets = accuracies.shape
    item = rng.standard_normal((1, targets, items), np.float32)
    luck = rng.standard_normal((models, targets, items), np.float32)
    ability = np.float32(np.sqrt(shared)) * item + np.float32(np.sqrt(1 - shared)) * luck
    return (ability < norm.ppf(accuracies)[:, :, None]).mean(axis=-1)
