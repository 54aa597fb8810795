"""Rows in an order that follows from what they say, and not from where the pool happens to store them."""

import numpy as np
import pyarrow as pa

from selectmm.pool.pool import Pool


def by_content(pool: Pool) -> np.ndarray:
    """Positions of all rows, sorted by their digest; [rows] of int64.

    A method that takes its rows in this order, and lets the earlier row win a tie, keeps the same rows however the pool
    is stored. A digest is a hash, so the order has nothing to do with sources or lengths. Identical rows have the same
    digest: which of them is kept makes no difference.
    """
    return np.argsort(digests(pool), kind="stable")


def digests(pool: Pool) -> np.ndarray:
    """Digest of every row, [rows] of bytes; chunk by chunk, since a Python string takes three times its memory."""
    chunks = pool.table["digest"].chunks
    return np.concatenate([np.empty(0, "S1"), *(np.array(chunk.cast(pa.binary()).to_pylist()) for chunk in chunks)])


def in_order_of_content(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """Some of a pool's rows in the order of `by_content`; [rows] of int64."""
    place = np.empty(len(pool), np.int64)
    place[by_content(pool)] = np.arange(len(pool))
    return rows[np.argsort(place[rows])]


def groups_of(labels: np.ndarray) -> list[np.ndarray]:
    """The positions that carry each label, ascending inside a label; as many arrays as ``labels.max() + 1``.

    Args:
        labels: [n] of int from 0; a label that nobody carries gives an empty array.
    """
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])
