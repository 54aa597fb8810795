"""What a method is."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from selectmm.features.feature import Feature, Features
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.subset import Subset
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Needs:
    """What has to be there before a method can select.

    Attributes:
        features: computed on every row of the pool, all of them in one pass.
        targets: the same features of examples of the target benchmarks.
        warmup: a short training; features are then computed with the model that comes out of it.
        sources: rows of at least two sources.
        images: at least one row with an image.
    """

    features: tuple[Feature, ...] = ()
    targets: bool = False
    warmup: WarmUp | RandomWarmUp | None = None
    sources: bool = False
    images: bool = False


class Method(Protocol):
    """A frozen dataclass whose fields are its options; `selectmm.methods.check.check_method` is its contract."""

    def needs(self) -> Needs:
        """What `select` reads; `Needs()` for a method that looks at the rows alone."""
        ...

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Choose ``budget`` rows, 1 ≤ budget ≤ len(pool).

        Args:
            pool: the rows to choose from.
            features: values of everything in `needs`.
            rng: the only source of randomness.

        Raises:
            UserError: the pool lacks what the method needs.
        """
        ...
