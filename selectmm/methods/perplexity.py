"""Answers that the model finds neither easy nor odd."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import Keep, ranked_rows
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Perplexity:
    """Score: exp(mean answer loss) of the frozen model; the middle of the ranking is kept.

    Marion et al., When Less is More (arXiv 2309.04564), who found the middle best.

    Several images in a row: the loss is that of the row's answers, which see all of them.
    """

    keep: Keep = "medium"

    def needs(self) -> Needs:
        """The answers' loss."""
        return Needs((AnswerLoss(),))

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The chosen part of the perplexity ranking."""
        losses, excluded = unanswered(features[AnswerLoss()])
        scores = np.exp(losses)
        return Subset(ranked_rows(pool, scores, budget, self.keep), scores, excluded)
