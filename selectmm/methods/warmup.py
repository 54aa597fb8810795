"""A short training before selection, which some methods take their features after."""

from dataclasses import dataclass, replace

import numpy as np

from selectmm.methods.order import random_keys, ranked
from selectmm.methods.ranges import Share
from selectmm.pool.pool import Pool
from selectmm.tuning.recipe import Recipe


@dataclass(frozen=True)
class WarmUp:
    """Train on the same number of random rows of every source (TIVE's steps 1 and 2, the authors' code).

    What the authors do not name (batch size, schedule, precision, …) is the experiment's own recipe.

    Attributes:
        fraction: share of the pool's rows; each source gives ``int(fraction · rows / sources)`` of its own, at least
            one, and all it has if it has fewer.
        rank, alpha, lr: of LoRA, which the warm-up has on all linear layers of the language model and nowhere else,
            whatever the recipe trains: features are taken of it.
        epochs: passes over those rows.
    """

    fraction: Share = 0.08
    rank: int = 128
    alpha: int = 256
    lr: float = 2e-5
    epochs: float = 1

    def recipe(self, own: Recipe) -> Recipe:
        """The experiment's recipe with the warm-up's values."""
        where = {"tune": "lora", "lora_layers": "all", "projector": "full", "vision_lr": 0.0}
        lora = {"rank": self.rank, "alpha": self.alpha, "lr": self.lr}
        return replace(own, name="warmup", length="epochs", epochs=self.epochs, **where, **lora)

    def rows(self, pool: Pool, rng: np.random.Generator) -> np.ndarray:
        """Positions of the rows to train on, [n] of int64, ascending."""
        sources = sorted(pool.counts())
        each = max(1, int(self.fraction * len(pool) / len(sources)))
        keys = random_keys(pool, rng)
        chosen = []
        for source in sources:
            own = np.flatnonzero(pool.sources == source)
            chosen.append(own[ranked(keys[own], each, "low")])
        return np.sort(np.concatenate(chosen))
