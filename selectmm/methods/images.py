"""Rows without image, and rows with several, where a method ranks images."""

from typing import Literal

import numpy as np

from selectmm.methods.content import in_order_of_content
from selectmm.methods.order import random_keys, ranked, ranked_rows, shares
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

TextOnly = Literal["keep_all", "exclude"]
Several = Literal["mean", "first"]
"""What a row with several images is: the mean over its images' values, or its first image's."""

BLOCK = 4_096  # rows whose values are averaged at a time


def of_rows(values: np.ndarray, pool: Pool, rows: np.ndarray, several: Several) -> tuple[np.ndarray, np.ndarray]:
    """Values of rows from those of the unique images: (values, which of them is each row's).

    The images' own values, which may be memory-mapped, as long as no row has several. Else one value a row, in memory.

    Args:
        values: of the pool's images, [images, width] or [images]. rows: positions of rows with images, [rows].
    """
    if several == "first" or not len(pool.several):
        return values, pool.image_of[rows]
    ends, of = pool.shown
    made = np.empty((len(rows), *values.shape[1:]), values.dtype)
    for start in range(0, len(rows), BLOCK):
        some = rows[start : start + BLOCK]
        counts = ends[some + 1] - ends[some]
        begins = np.concatenate([[0], counts[:-1].cumsum()])
        shown = of[np.repeat(ends[some] - begins, counts) + np.arange(counts.sum())]
        sums = np.add.reduceat(values[shown].astype(np.promote_types(values.dtype, np.float32)), begins)
        made[start : start + BLOCK] = sums / counts.reshape(-1, *[1] * (values.ndim - 1))
    return made, np.arange(len(rows))


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
    visual = in_order_of_content(pool, np.flatnonzero(pool.image_of >= 0))
    if text_only == "exclude":
        missing = len(pool) - len(visual)
        return Subset(
            ranked_rows(pool, scores, budget, "high"), scores, {"rows without image": missing} if missing else {}
        )
    text = text_first(pool, budget, rng)
    kept = visual[ranked(scores[visual], budget - len(text), "high")]
    return Subset(np.concatenate([text, kept]), scores)
