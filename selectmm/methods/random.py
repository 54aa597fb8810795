"""Uniform choice without replacement: the baseline that every method must beat."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Random:
    """Keeps a uniform random draw; the same rows for the same seed in whatever order the pool is stored.

    Several images in a row change nothing: images are not looked at.
    """

    def needs(self) -> Needs:
        """Nothing."""
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """A uniform draw without replacement."""
        return Subset(ranked(random_keys(pool, rng), budget, "low"))
