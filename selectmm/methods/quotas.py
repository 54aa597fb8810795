"""A budget over groups of rows that cannot give more than they have."""

import numpy as np

from selectmm.methods.order import shares


def quotas(weights: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Split ``total`` in proportion to ``weights``, no group above its size; [groups] of int64 that sum to ``total``.

    Largest remainders first, ties to the earlier group. What a group cannot give is split among the others by the same
    rule, in proportion to their weights, until nothing is left to split. When all groups that have weight are full, the
    rest goes to the others in proportion to the room that they have.

    Args:
        weights: [groups], not negative. sizes: [groups] of int. total: at most ``sizes.sum()``.
    """
    given = np.zeros(len(sizes), np.int64)
    while left := total - int(given.sum()):
        room = sizes - given
        open_weights = np.where(room > 0, weights, 0.0)
        if open_weights.max() < np.finfo(np.float64).tiny:  # too small to divide by is no weight
            open_weights = room.astype(np.float64)
        given += np.minimum(shares(open_weights / open_weights.max(), left), room)
    return given
