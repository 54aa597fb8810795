"""Pools and subsets that tests of several methods share."""

import numpy as np
import pyarrow as pa

from selectmm.features.feature import Feature, Features
from selectmm.methods.check import invented_pool
from selectmm.methods.method import Method
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


def talking_pool(rows: int) -> Pool:
    """Three sources; every fifth row is text-only, and three neighbours share an image."""
    return invented_pool(rows)


def shuffled(pool: Pool, seed: int = 1) -> tuple[Pool, np.ndarray]:
    """The pool stored in another order, and for each of its rows the position that it had."""
    order = np.random.default_rng(seed).permutation(len(pool))
    return Pool(pool.table.take(pa.array(order)), pool.image_root, pool.fingerprint), order


def chosen(
    method: Method, pool: Pool, values: dict[Feature, np.ndarray], budget: int, seed: int = 0, targets: object = None
) -> Subset:
    """The method's choice from given feature values."""
    return method.select(pool, Features(values, targets), budget, np.random.default_rng(seed))


def keeps_its_rows_in_another_order(
    method: Method, pool: Pool, values: dict[Feature, np.ndarray], budget: int, targets: object = None
) -> None:
    """The same rows, ties included, and the same scores, when the pool is stored in another order.

    All values are by row: none of images.
    """
    moved, order = shuffled(pool)
    before = chosen(method, pool, values, budget, targets=targets)
    after = chosen(method, moved, {f: v[order] for f, v in values.items()}, budget, targets=targets)
    assert sorted(order[after.rows].tolist()) == before.rows.tolist()
    if before.scores is not None:
        np.testing.assert_array_equal(after.scores, before.scores[order])
