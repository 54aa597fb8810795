"""Choose once, before training: what every run without a schedule does."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.schedules.schedule import Course, Requests, Score, Train


@dataclass(frozen=True)
class Static:
    """The method chooses its rows with the untrained model (or after its warm-up), then all steps train on them."""

    wraps: Literal[True] = True

    def check(self, course: Course) -> None:
        """Nothing can be wrong."""

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """One choice, one training."""
        found = yield Score(course.everything(), course.method.needs())
        yield Train(course.method.select(found.pool, found.features, course.rows, rng).rows, course.steps)
