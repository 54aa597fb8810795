"""Orders of rows that do not depend on how the pool happens to be stored."""

from typing import Literal

import numpy as np

from selectmm.methods.content import by_content, digests
from selectmm.pool.pool import Pool

Keep = Literal["low", "medium", "high"]


def random_keys(pool: Pool, rng: np.random.Generator) -> np.ndarray:
    """A random number in [0, 1) per row, [n] of float64, from the row's *content* and one draw of ``rng``.

    Choosing the rows with the smallest keys is a uniform draw without replacement, of which the content stays the same
    when the pool is stored in another order. Identical rows are numbered, so that each is drawn by itself.
    """
    there = digests(pool)
    content = np.fromiter((int(digest[:16], 16) for digest in there), np.uint64, len(pool))
    return _mixed(content ^ _mixed(_copies(there)) ^ rng.integers(2**64, dtype=np.uint64)) / 2.0**64


def _copies(digests: np.ndarray) -> np.ndarray:
    """How many rows before each one are identical to it, [n] of uint64."""
    order = np.argsort(digests, kind="stable")
    begins = np.flatnonzero(np.append(True, digests[order][1:] != digests[order][:-1])[: len(order)])
    places = np.arange(len(order)) - np.repeat(begins, np.diff([*begins, len(order)]))
    copies = np.empty(len(order), np.uint64)
    copies[order] = places
    return copies


def _mixed(bits: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): every output bit depends on every input bit."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def weighted_keys(pool: Pool, log_weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `random_keys`, for draws without replacement with the given weights, one row after the other; [n].

    Efraimidis and Spirakis, Weighted random sampling with a reservoir (2006): smallest ``−log(u) / w``; the logarithm
    of that, so that sharp weights do not overflow.
    """
    uniform = random_keys(pool, rng) + 2.0**-65  # never 0
    return np.log(-np.log(uniform)) - log_weights


def ranked(scores: np.ndarray, count: int, keep: Keep) -> np.ndarray:
    """Places of the ``count`` lowest, highest or middle scores, ties by place; NaN comes last.

    For scores in an order that follows from what rows say (`selectmm.methods.content`); for scores in the pool's own
    order there is `ranked_rows`.
    """
    order = np.argsort(-scores if keep == "high" else scores, kind="stable")  # NaN comes last either way
    scored = len(scores) - int(np.isnan(scores).sum())
    start = max(0, scored - count) // 2 if keep == "medium" else 0
    return order[start : start + count].copy()  # without it, the order of all rows would stay in memory


def ranked_rows(pool: Pool, scores: np.ndarray, count: int, keep: Keep) -> np.ndarray:
    """Positions of the ``count`` rows with the lowest, highest or middle scores, [rows], ties by what the rows say.

    Ties by position would favour the sources that come first in the pool's file. NaN comes last.
    """
    order = by_content(pool)
    return order[ranked(np.asarray(scores)[order], count, keep)]


def shares(sizes: np.ndarray, total: int) -> np.ndarray:
    """Split ``total`` in proportion to ``sizes`` (largest remainders first, ties by position).

    Args:
        sizes: [groups], not negative, not all 0. If they are whole and total ≤ sum(sizes), no share exceeds its size.

    Returns:
        [groups] of int64 that sum to ``total``.
    """
    exact = sizes * (total / sizes.sum())
    whole = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(-(exact - whole), kind="stable")[: total - whole.sum()]
    whole[rest] += 1
    return whole
