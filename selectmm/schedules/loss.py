"""Rows drawn by their current loss: one third of the ranking is favoured."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.features.answers import AnswerLoss
from selectmm.methods.method import Needs
from selectmm.methods.order import weighted_keys
from selectmm.methods.ranges import NotNegative
from selectmm.methods.subset import unanswered
from selectmm.schedules.reselect import PeriodicUpdates
from selectmm.schedules.schedule import Course, Requests, Scored


@dataclass(frozen=True)
class Loss:
    """DataFlex's loss selector: a weighted draw without replacement at every update.

    Losses are parted at their 0.33 and 0.66 quantiles. Rows of the third in ``focus`` have weight ``weight``, all
    others 1; rows without an answer are drawn last. OpenDCAI/DataFlex, ``selector/loss_selector.py``.

    Attributes:
        warmup, updates, subsample: see `selectmm.schedules.reselect.PeriodicUpdates`.
        focus: the favoured third.
        weight: of a row in it; with 0 it is drawn after all others.
    """

    warmup: float = 1 / 3
    updates: int = 2
    subsample: float = 1.0
    focus: Literal["low", "medium", "high"] = "high"
    weight: NotNegative = 5.0
    wraps: Literal[False] = False

    @property
    def _updates(self) -> PeriodicUpdates:
        return PeriodicUpdates(self.warmup, self.updates, self.subsample)

    def check(self, course: Course) -> None:
        """Whether the steps suffice."""
        self._updates.check(course)

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """Random rows, then the draws."""

        def choose(_update: int, _rows: np.ndarray, found: Scored, count: int) -> np.ndarray:
            losses, _ = unanswered(found.features[AnswerLoss()])
            return drawn(found, np.where(self._favoured(losses), self.weight, 1.0), losses, count, rng)

        yield from self._updates.requests(course, rng, Needs((AnswerLoss(),)), choose)

    def _favoured(self, losses: np.ndarray) -> np.ndarray:
        if np.isnan(losses).all():
            return np.zeros(len(losses), bool)
        low, high = np.nanquantile(losses, [0.33, 0.66])
        thirds = {"low": losses <= low, "medium": (losses > low) & (losses <= high), "high": losses > high}
        return thirds[self.focus]


def drawn(found: Scored, weights: np.ndarray, losses: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Places of ``count`` rows drawn one after the other by weight, without replacement.

    Rows of weight 0 are drawn after all others, each as likely, and those with a NaN loss after these.
    """
    last = np.where(np.isnan(losses), 2, weights == 0)
    keys = weighted_keys(found.pool, np.log(np.where(last > 0, 1.0, weights)), rng)
    return np.lexsort((keys, last))[:count].copy()  # without it, the order of all rows would stay in memory
