"""What a method is."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from selectmm.features.feature import Feature, Features
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.source_warmup import SourceWarmUp
from selectmm.methods.subset import Subset
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Needs:
    """What has to be there before a method can select.

    Attributes:
        features: computed on every row of the pool, all of them in one pass.
        targets: features of examples of the target benchmarks: the same, or ``target_features`` if those are given.
        warmup: a short training; features are then computed with the model that comes out of it.
        snapshots: so many points of the warm-up, at equal distances, at each of which the features are computed, those
            of the targets too; 0: at its end alone.
        reference: features that are computed on the warm-up's rows alone, at its end.
        sources: rows of at least two sources.
        images: at least one row with an image.
        places: reads rows' ids, or their places in the pool's file, which the pool's fingerprint need not cover.
    """

    features: tuple[Feature, ...] = ()
    targets: bool = False
    target_features: tuple[Feature, ...] | None = None
    warmup: WarmUp | RandomWarmUp | SourceWarmUp | None = None
    snapshots: int = 0
    reference: tuple[Feature, ...] = ()
    sources: bool = False
    images: bool = False
    places: bool = False

    @property
    def of_targets(self) -> tuple[Feature, ...]:
        """Features of the target examples, if there are any."""
        return self.features if self.target_features is None else self.target_features


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
