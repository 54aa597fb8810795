"""All rows of one source: how much a source helps is measured by training on it alone."""

from dataclasses import dataclass

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class OneSource:
    """Keeps every row of ``source`` and no other, whatever the budget says.

    What DataProphet's ranking is held against: a recipe of equal steps makes runs on sources of different size
    comparable.

    Several images in a row change nothing: images are not looked at.
    """

    source: str

    def needs(self) -> Needs:
        """Nothing but the rows and their sources."""
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Rows of the one source, at random."""
        rows = np.flatnonzero(pool.sources == self.source)
        if len(rows) == 0:
            raise UserError(f"The pool has no source '{self.source}'; it has: {', '.join(sorted(pool.counts()))}.")
        return Subset(rows)
