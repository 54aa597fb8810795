"""The longest conversations."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Values
from selectmm.features.tokens import TokenCount
from selectmm.methods.order import lowest
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Length:
    """Keeps the rows with the most tokens; the score is the token count of the whole conversation."""

    def needs(self) -> tuple[TokenCount]:
        return (TokenCount(),)

    def select(self, pool: Pool, features: Values, budget: int, rng: np.random.Generator) -> Subset:
        tokens = np.asarray(features[TokenCount()], np.float64)
        return Subset(lowest(-tokens, budget), tokens)
