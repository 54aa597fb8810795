"""RHO-LOSS: of every large batch, train on the rows whose loss could fall most."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import NO_ANSWER
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.schedules.schedule import Course, Requests, Score, Train, check_share


@dataclass(frozen=True)
class RhoLoss:
    """Of each batch of ``batch_size / keep`` candidates, keep the ``batch_size`` with the largest reducible loss.

    Reducible loss: L(row; current weights) − L(row; reference), the reference being a model that was trained on rows
    held out of the pool, whose losses are computed once. Candidates come in one random order of the other rows, pass
    after pass. Mindermann et al. (arXiv 2206.07137) and OATML/RHO-Loss, ``src/curricula/selection_methods.py``.

    Attributes:
        reference: the training on held-out rows; ``fraction`` is the share of the pool that is held out.
        keep: share of the candidates that is trained on; the paper has 0.1.
        every: steps between two scorings: the candidates of so many steps are scored together, with the weights before
            the first of them. 1 is the paper's; every scoring starts the processes of a pass and of a training, so on
            several devices, or with a large model, set more.
    """

    reference: RandomWarmUp = field(default_factory=RandomWarmUp)
    keep: float = 0.5
    every: int = 1
    wraps: Literal[False] = False

    def check(self, course: Course) -> None:
        """Whether candidates are left beside the rows that are held out."""
        check_share("keep", self.keep)
        if self.every < 1:
            raise UserError(f"schedule.every={self.every}: rows have to be scored every so many steps, at least 1.")
        share = self.reference.fraction
        if not 0 < share:
            raise UserError(f"schedule.reference.fraction={share:g} holds no rows out; give a share such as 0.05.")
        left = len(course.pool) - max(1, round(share * len(course.pool)))
        if left < self._candidates(course):
            raise UserError(
                f"schedule.reference.fraction={share:g} holds out {len(course.pool) - max(left, 0):,} of the pool's "
                f"{len(course.pool):,} rows, which leaves fewer than the {self._candidates(course):,} candidates of "
                f"one step; the rows held out must not be the pool: lower it, or raise schedule.keep."
            )

    def _candidates(self, course: Course) -> int:
        return round(course.batch_size / self.keep)

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """The reference's losses, then candidates and the best of them."""
        found = yield Score(course.everything(), Needs((AnswerLoss(),), warmup=self.reference))
        reference = np.array(found.features[AnswerLoss()], np.float64)
        stream = _stream(course, np.setdiff1d(course.everything(), found.warmed_on), rng)
        many = self._candidates(course)
        for done in range(0, course.steps, self.every):
            steps = min(self.every, course.steps - done)
            candidates = np.array(list(islice(stream, steps * many)), np.int64).reshape(steps, many)
            rows = np.unique(candidates)
            found = yield Score(rows, Needs((AnswerLoss(),)))
            losses = np.array(found.features[AnswerLoss()], np.float64)
            reducible = np.where(losses == NO_ANSWER, -np.inf, losses - reference[rows])
            yield Train(best(candidates, reducible[np.searchsorted(rows, candidates)], course.batch_size), steps,
                        ordered=True)  # fmt: skip


def best(candidates: np.ndarray, scores: np.ndarray, count: int) -> np.ndarray:
    """Of each step's candidates the ``count`` with the highest scores, ties by arrival.

    Args:
        candidates, scores: [steps, candidates of one].

    Returns:
        [steps · count] of int64, step after step.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(candidates, order, axis=1).ravel()


def _stream(course: Course, rows: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
    """The rows in a random order that does not depend on how the pool is stored, pass after pass."""
    while True:
        keys = random_keys(course.pool, rng)[rows]
        yield from rows[np.argsort(keys, kind="stable")].tolist()
