"""k items at random, the more unlike the likelier: an exact sample of a determinantal point process of size k."""

import numpy as np


def sample(kernel: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` distinct items; a set S is drawn with probability det(kernel_S) / Σ of all such; [count] of int64.

    Kulesza and Taskar, k-DPPs (2011): first so many eigenvectors, then an item for each.

    Args:
        kernel: [n, n], symmetric, with eigenvalues above 0. count: at most n.
    """
    values, vectors = np.linalg.eigh(kernel)
    chosen = _eigenvectors(np.log(np.maximum(values, np.finfo(np.float64).tiny)), count, rng)
    return _items(vectors[:, chosen], rng)


def elementary(logs: np.ndarray, count: int) -> np.ndarray:
    """Logarithms of the elementary symmetric polynomials e_k of the first m numbers, [count + 1, n + 1].

    Logarithms, because 128 eigenvalues multiply to less than a float can hold. ``logs`` are the numbers' own, [n].
    """
    table = np.full((count + 1, len(logs) + 1), -np.inf)
    table[0] = 0
    for m, value in enumerate(logs.tolist(), start=1):
        table[1:, m] = np.logaddexp(table[1:, m - 1], value + table[:-1, m - 1])
    return table


def _eigenvectors(logs: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    table, left, chosen = elementary(logs, count), count, []
    for m in range(len(logs), 0, -1):
        if left == 0:
            break
        if np.log(rng.random()) < logs[m - 1] + table[left - 1, m - 1] - table[left, m]:
            chosen.append(m - 1)
            left -= 1
    return chosen


def _items(vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An item for each of some orthonormal vectors [n, k]: the chance of the next is what of its row is at right angles
    to the rows of those that are drawn."""
    items, basis = [], np.zeros(vectors.shape)
    left = (vectors**2).sum(1)
    for step in range(vectors.shape[1]):
        left[items] = 0
        item = int(np.searchsorted(np.cumsum(left), rng.random() * left.sum(), side="right"))
        item = min(item, int(np.flatnonzero(left)[-1]))  # a sum in another order may end a little lower
        items.append(item)
        across = vectors @ vectors[item] - basis[:, :step] @ basis[item, :step]
        basis[:, step] = across / np.sqrt(across[item])
        left = np.maximum(left - basis[:, step] ** 2, 0)
    return np.array(items, np.int64)
