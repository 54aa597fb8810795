"""What a method is."""

from typing import Protocol

import numpy as np

from selectmm.features.feature import Feature, Values
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


class Method(Protocol):
    """A frozen dataclass whose fields are its options; `selectmm.methods.check.check_method` is its contract."""

    def needs(self) -> tuple[Feature, ...]:
        """The features that `select` reads; none for a method that looks at the rows alone."""
        ...

    def select(self, pool: Pool, features: Values, budget: int, rng: np.random.Generator) -> Subset:
        """Choose ``budget`` rows, 1 ≤ budget ≤ len(pool).

        Args:
            pool: the rows to choose from.
            features: values of everything in `needs`.
            rng: the only source of randomness.

        Raises:
            UserError: the pool lacks what the method needs.
        """
        ...
