"""A short training on the same share of every source, which some methods take their features after."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.methods.order import random_keys, ranked
from selectmm.methods.ranges import Share
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool
from selectmm.tuning.recipe import Recipe


@dataclass(frozen=True)
class SourceWarmUp:
    """Train on rows drawn uniformly from each source (`RandomWarmUp` draws from all, `WarmUp` as many of each).

    What is not named here (batch size, schedule, precision, …) is the experiment's own recipe.

    Attributes:
        fraction: share of every source's rows, rounded down, at least one row of each.
        rows_of: ``images``: rows with an image alone; sources without any give none. ``all``: every row.
        rank, alpha, lr: of LoRA, which sits on all linear layers of the language model.
        epochs: passes over those rows.
    """

    fraction: Share = 0.05
    rows_of: Literal["images", "all"] = "images"
    rank: int = 128
    alpha: int = 256
    lr: float = 2e-4
    epochs: float = 1

    def recipe(self, own: Recipe) -> Recipe:
        """The experiment's recipe with the warm-up's values."""
        return WarmUp(rank=self.rank, alpha=self.alpha, lr=self.lr, epochs=self.epochs).recipe(own)

    def rows(self, pool: Pool, rng: np.random.Generator) -> np.ndarray:
        """Positions of the rows to train on, [n] of int64, ascending; of a pool without images, rows of all kinds."""
        wanted = pool.image_of >= 0
        if self.rows_of == "all" or not wanted.any():
            wanted = np.ones(len(pool), bool)
        keys, chosen = random_keys(pool, rng), []
        for source in np.unique(pool.source_of):
            own = np.flatnonzero((pool.source_of == source) & wanted)
            chosen.append(own[ranked(keys[own], max(1, int(self.fraction * len(own))), "low")])
        return np.sort(np.concatenate(chosen))
