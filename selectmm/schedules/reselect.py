"""Choose again several times while the model learns, each time with the weights that it has by then."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.methods.method import Needs
from selectmm.schedules.schedule import Course, Requests, Score, Scored, Train, check_share, parts


@dataclass(frozen=True)
class PeriodicUpdates:
    """DataFlex's loop (``select_trainer.py``): some steps on random rows, then several updates of the choice.

    Attributes:
        warmup: share of the steps that train on random rows first (rounded; at least one step unless it is 0).
        updates: how often rows are chosen; each choice is trained on for the same number of steps.
        subsample: share of the pool that is scored at an update, drawn anew each time.
    """

    warmup: float
    updates: int
    subsample: float

    def check(self, course: Course) -> None:
        """Raises a `UserError` if the steps do not suffice, or a number is out of its range."""
        check_share("warmup", self.warmup, zero=True)
        check_share("subsample", self.subsample)
        if self.updates < 1:
            raise UserError(f"schedule.updates={self.updates}: rows have to be chosen at least once.")
        first = self.first(course)
        if course.steps - first < self.updates:
            raise UserError(
                f"The schedule leaves no step for some of its choices: of {course.steps} optimiser steps, "
                f"schedule.warmup={self.warmup:g} takes {first}, and {self.updates} choices (schedule.updates) "
                f"need one each; lower them, or train longer (budget, recipe.epochs)."
            )

    def first(self, course: Course) -> int:
        """Steps on random rows."""
        return max(1, round(self.warmup * course.steps)) if self.warmup else 0

    def requests(
        self,
        course: Course,
        rng: np.random.Generator,
        needs: Needs,
        choose: Callable[[int, np.ndarray, Scored, int], np.ndarray],
    ) -> Requests:
        """The loop.

        Args:
            needs: of every update.
            choose: takes the update's number from 1, the positions [m] that were scored, the answer, and how many of
                them are wanted; returns places among the m.
        """
        first = self.first(course)
        if first:
            yield Train(course.random(course.share(first), rng), first)
        for update, steps in enumerate(parts(course.steps - first, self.updates), 1):
            rows = course.everything()
            if self.subsample < 1:
                rows = course.random(max(1, round(self.subsample * len(rows))), rng)
            found = yield Score(rows, needs)
            chosen = choose(update, rows, found, min(course.share(steps), len(rows)))
            yield Train(np.sort(rows[chosen]), steps)


@dataclass(frozen=True)
class Reselect:
    """Any method, asked again with the current weights: warm-up steps on random rows, then ``updates`` choices.

    A method's own warm-up is left out: the weights of the run take its place. See `PeriodicUpdates` for the options.
    The defaults are those of DataFlex's example (10 steps of warm-up, 2 updates of 10 steps).
    """

    warmup: float = 1 / 3
    updates: int = 2
    subsample: float = 1.0
    wraps: Literal[True] = True

    @property
    def _updates(self) -> PeriodicUpdates:
        return PeriodicUpdates(self.warmup, self.updates, self.subsample)

    def check(self, course: Course) -> None:
        """Steps suffice, and a method that scores by a warmed-up model has one at its first choice."""
        self._updates.check(course)
        if course.method.needs().warmup is not None and self.warmup == 0:
            raise UserError(
                "This method scores rows after a warm-up, for which the steps before the first choice stand, but "
                "schedule.warmup=0 leaves none; set schedule.warmup above 0."
            )

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """Random rows, then the method's choices."""

        def choose(_update: int, _rows: np.ndarray, found: Scored, count: int) -> np.ndarray:
            return course.method.select(found.pool, found.features, count, rng).rows

        yield from self._updates.requests(course, rng, replace(course.method.needs(), warmup=None), choose)
