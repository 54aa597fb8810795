"""Rows drawn by how far their loss has fallen: a window that slides along the ranking as training goes on."""

from dataclasses import dataclass
from math import exp
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys
from selectmm.methods.ranges import NotNegative, Share
from selectmm.methods.subset import unanswered
from selectmm.schedules.loss import drawn
from selectmm.schedules.reselect import PeriodicUpdates
from selectmm.schedules.schedule import Course, Requests, Score, Scored


@dataclass(frozen=True)
class DeltaLoss:
    """DataFlex's delta-loss selector.

    Rows are ranked by Δ = first loss − current loss, largest first. At update u of U a window of 20 % of the n scored
    rows starts at 0.8 · n · sigmoid(10 · (u/U − 0.5)); rows are drawn without replacement with weight 1 inside the
    window and ``outside`` elsewhere. OpenDCAI/DataFlex, ``selector/delta_loss_selector.py``.

    Attributes:
        warmup, updates, subsample: see `selectmm.schedules.reselect.PeriodicUpdates`.
        first: where the first loss is taken, which the source leaves open: of the model before any step (``start``), or
            after the steps on random rows (``warmup``; then all differences at the first update are 0, and its window
            is random).
        window: share of the scored rows in the window. outside: weight of the others; with 0 they fill up what the
            window has too few rows for, each as likely.
    """

    warmup: float = 1 / 3
    updates: int = 2
    subsample: float = 1.0
    first: Literal["start", "warmup"] = "start"
    window: Share = 0.2
    outside: NotNegative = 0.025
    wraps: Literal[False] = False

    @property
    def _updates(self) -> PeriodicUpdates:
        return PeriodicUpdates(self.warmup, self.updates, self.subsample)

    def check(self, course: Course) -> None:
        """Whether the steps suffice, and there is a first loss of every row."""
        self._updates.check(course)
        if self.first == "warmup" and self.subsample < 1:
            raise UserError(
                "schedule.first=warmup takes the first losses at the first update, which schedule.subsample below 1 "
                "scores a part of the pool at; set schedule.first=start or schedule.subsample=1."
            )

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """The first losses, random rows, then the draws."""
        first = np.full(len(course.pool), np.nan)
        if self.first == "start":
            found = yield Score(course.everything(), Needs((AnswerLoss(),)))
            first, _ = unanswered(found.features[AnswerLoss()])

        def choose(update: int, rows: np.ndarray, found: Scored, count: int) -> np.ndarray:
            losses, _ = unanswered(found.features[AnswerLoss()])
            if update == 1 and self.first == "warmup":
                first[:] = losses
            weights = self.weights(first[rows] - losses, update, random_keys(found.pool, rng))
            return drawn(found, weights, losses, count, rng)

        yield from self._updates.requests(course, rng, Needs((AnswerLoss(),)), choose)

    def weights(self, fallen: np.ndarray, update: int, keys: np.ndarray) -> np.ndarray:
        """Of each row in the draw, [n]. ``fallen``: Δ, NaN last; ``keys`` break ties."""
        count = len(fallen)
        start = (1 - self.window) * count / (1 + exp(-10 * (update / self.updates - 0.5)))
        weights = np.full(count, self.outside)
        order = np.lexsort((keys, -fallen))
        weights[order[int(start) : int(start + self.window * count)]] = 1.0
        return weights
