"""What becomes of text-only rows where a method ranks images."""

from typing import Literal

import numpy as np

from selectmm.methods.order import random_keys, ranked, shares
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

TextOnly = Literal["keep_all", "exclude"]


def text_first(pool: Pool, budget: int, rng: np.random.Generator) -> np.ndarray:
    """The text-only rows to keep where all of them are wanted, [n] of int64.

    If they alone would fill the budget, they get their proportional share of it, at random.
    """
    text = np.flatnonzero(pool.image_of < 0)
    if len(text) < budget:
        return text
    count = int(shares(np.array([len(text), len(pool) - len(text)]), budget)[0])
    return text[ranked(random_keys(pool, rng)[text], count, "low")]


def highest_images(
    pool: Pool, scores: np.ndarray, budget: int, text_only: TextOnly, rng: np.random.Generator
) -> Subset:
    """The rows with the highest scores, text-only rows (NaN) as `text_first` has it or only when nothing is left."""
    visual = np.flatnonzero(pool.image_of >= 0)
    if text_only == "exclude":
        missing = len(pool) - len(visual)
        return Subset(ranked(scores, budget, "high"), scores, {"rows without image": missing} if missing else {})
    text = text_first(pool, budget, rng)
    kept = visual[ranked(scores[visual], budget - len(text), "high")]
    return Subset(np.concatenate([text, kept]), scores)
