"""InfoBatch: leave out some of the easy rows in every pass, and count the others of them for more."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.methods.order import random_keys, ranked
from selectmm.schedules.schedule import Course, Requests, Score, Train, check_share


@dataclass(frozen=True)
class InfoBatch:
    """Prune passes over the rows that the method chose; ``method=full budget=1`` is the paper's setting.

    A row's score is its loss when it was last trained on, 3 before that: a by-product of training, nothing is scored
    for it. In every pass, of the rows whose score is below the mean a random share ``prune`` is left out, and the loss
    of those that stay is multiplied by (rows below the mean) / (those that stay), which is 1 / (1 − prune) where that
    many rows can be left out exactly: the expected sum of gradients over a pass is that of all rows. What is saved is
    spent on further passes, so that the optimiser steps are those of a static run. The last 1 − ``until`` of the steps
    leave nothing out.

    Qin et al. (arXiv 2303.04947), NUS-HPC-AI-Lab/InfoBatch.
    """

    prune: float = 0.5
    until: float = 0.875
    wraps: Literal[True] = True

    def check(self, course: Course) -> None:
        """Whether there is a second pass, in which something could be left out."""
        check_share("until", self.until)
        if not 0 <= self.prune < 1:
            raise UserError(f"schedule.prune={self.prune:g} is not a share below 1; give a number such as 0.5.")
        passes = course.steps * course.batch_size / course.rows
        if round(passes, 1) < 2:
            raise UserError(
                f"schedule=infobatch leaves rows out by their loss in the pass before, but {course.steps} steps of "
                f"{course.batch_size} rows are {passes:.2g} passes over {course.rows:,} rows, and it needs two; set "
                f"recipe.epochs=2 or more, or recipe.length=steps with a smaller budget."
            )

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """The method's choice, then pruned passes, then all rows."""
        found = yield Score(course.everything(), course.method.needs())
        rows = course.method.select(found.pool, found.features, course.rows, rng).rows
        scores, done, until = np.full(len(rows), 3.0), 0, int(self.until * course.steps)
        while done < until:
            places, weights = pruned(scores, random_keys(course.pool, rng)[rows], self.prune)
            steps = min(max(1, round(len(places) / course.batch_size)), until - done)
            losses = yield Train(rows[places], steps, weights, stands_for=len(rows))
            scores[places] = np.where(np.isnan(losses), scores[places], losses)
            done += steps
        if done < course.steps:
            yield Train(rows, course.steps - done)


def pruned(scores: np.ndarray, keys: np.ndarray, prune: float) -> tuple[np.ndarray, np.ndarray]:
    """Which rows stay, and their weights.

    Args:
        scores: [n]. keys: random numbers, [n]: of the rows below the mean those with the lowest keys stay.

    Returns:
        Places among the n, ascending, and a weight for each of them; the weights sum to n.
    """
    low = np.flatnonzero(scores < scores.mean())
    staying = max(1, round((1 - prune) * len(low))) if len(low) else 0
    kept = low[ranked(keys[low], staying, "low")]
    weights = np.ones(len(scores))
    weights[kept] = len(low) / max(staying, 1)
    places = np.sort(np.concatenate([np.setdiff1d(np.arange(len(scores)), low), kept]))
    return places, weights[places]
