"""EL2N: the rows whose answers the model predicts worst."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.answers import AnswerError
from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked_rows
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class El2n:
    """Score: mean over answer tokens of ‖softmax − one-hot‖₂ of the frozen model; the highest are kept.

    Paul, Ganguli and Dziugaite, Deep Learning on a Data Diet (arXiv 2107.07075).

    Several images in a row: the error is that of the row's answers, which see all of them.
    """

    def needs(self) -> Needs:
        """The answers' error vectors."""
        return Needs((AnswerError(),))

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the highest error."""
        scores, excluded = unanswered(features[AnswerError()])
        return Subset(ranked_rows(pool, scores, budget, "high"), scores, excluded)
