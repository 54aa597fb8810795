"""Every row: what all other methods are measured against."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Full:
    """Keeps the whole pool, whatever the budget says (it is the reference of a sweep over budgets).

    Several images in a row change nothing: images are not looked at.
    """

    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every row."""
        return Subset(np.arange(len(pool)))
