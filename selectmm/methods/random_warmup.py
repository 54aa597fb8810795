"""A short training on a random share of the pool, which some methods take their features after."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from selectmm.methods.order import random_keys, ranked
from selectmm.methods.ranges import Share
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool
from selectmm.tuning.recipe import Recipe


@dataclass(frozen=True)
class RandomWarmUp:
    """Train on rows drawn uniformly from the whole pool (`WarmUp` takes as many of every source).

    What is not named here (batch size, schedule, precision, …) is the experiment's own recipe.

    Attributes:
        fraction: share of the pool's rows, at least one row.
        rank, alpha, dropout, lr: of LoRA, which sits on the language model's ``lora_layers``.
        epochs: passes over those rows.
    """

    fraction: Share = 0.05
    rank: int = 128
    alpha: int = 256
    dropout: float = 0.0
    lora_layers: Literal["all", "attention"] = "all"
    lr: float = 2e-4
    epochs: float = 1

    def recipe(self, own: Recipe) -> Recipe:
        """The experiment's recipe with the warm-up's values."""
        made = WarmUp(rank=self.rank, alpha=self.alpha, lr=self.lr, epochs=self.epochs).recipe(own)
        return replace(made, dropout=self.dropout, lora_layers=self.lora_layers)

    def rows(self, pool: Pool, rng: np.random.Generator) -> np.ndarray:
        """Positions of the rows to train on, [n] of int64, ascending."""
        count = max(1, round(self.fraction * len(pool)))
        return np.sort(ranked(random_keys(pool, rng), count, "low"))
