"""The longest conversations."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.tokens import TokenCount
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked_rows
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Length:
    """Keeps the rows with the most tokens; the score is the token count of the whole conversation.

    Several images in a row: the tokens of all of them count.
    """

    def needs(self) -> Needs:
        """Every row's token count."""
        return Needs((TokenCount(),))

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the most tokens."""
        tokens = np.asarray(features[TokenCount()], np.float64)
        return Subset(ranked_rows(pool, tokens, budget, "high"), tokens)
