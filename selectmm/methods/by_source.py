"""A mix of sources made by hand: what somebody who knows the benchmarks would keep."""

from dataclasses import dataclass

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class BySource:
    """Keeps rows of the sources named ``first``, then of all others, and of those named ``last`` only when no other
    row is left; at random inside each of the three.

    It is no competitor of a selection method, because it is told what matters. It is the yardstick of a pool: if it
    does not beat `random`, the pool leaves a method no room to be good.

    Several images in a row change nothing: images are not looked at.

    Attributes:
        first, last: names of sources; with both empty this is `random`.
    """

    first: tuple[str, ...] = ()
    last: tuple[str, ...] = ()

    def needs(self) -> Needs:
        """Nothing but the rows and their sources."""
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every source's share of the budget, its rows at random."""
        known = set(pool.sources.tolist())
        for source in (*self.first, *self.last):
            if source not in known:
                raise UserError(f"The pool has no source '{source}'; it has: {', '.join(sorted(known))}.")
        turn = np.isin(pool.sources, self.last).astype(float) - np.isin(pool.sources, self.first)
        return Subset(ranked(turn + random_keys(pool, rng), budget, "low"))
