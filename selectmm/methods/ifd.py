"""IFD: the rows whose question helps least with the answer."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked_rows
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool

GIVEN, ALONE = AnswerLoss("conversation"), AnswerLoss("answer")


@dataclass(frozen=True)
class Ifd:
    """Score: loss(answer given image and question) / loss(answer alone); the highest below 1 are kept.

    A ratio of 1 or more says that the question does not help at all: such rows are taken only when no other is left,
    the nearest to 1 first. Li et al., From Quantity to Quality (arXiv 2308.12032).

    Each loss is the mean over the answer tokens that lie within the length limit of what it reads. In a row that the
    limit cuts, the answer alone keeps more of them than the whole conversation.

    Several images in a row: both losses are the row's; the answer alone sees none of them.
    """

    def needs(self) -> Needs:
        """The answers' loss with the question and without it."""
        return Needs((GIVEN, ALONE))

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The highest ratios below 1, then those above."""
        given, excluded = unanswered(features[GIVEN])
        alone, _ = unanswered(features[ALONE])
        scores = given / np.maximum(alone, 1e-9)  # an answer that is certain by itself is not made likelier
        unhelped = int((scores >= 1).sum())
        if unhelped:
            excluded = {**excluded, "question does not help (IFD ≥ 1)": unhelped}
        order = np.where(scores < 1, -scores, np.maximum(scores, 1.0))
        return Subset(ranked_rows(pool, order, budget, "low"), scores, excluded)
