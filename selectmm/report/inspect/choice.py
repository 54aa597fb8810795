"""A subset with the pool it was chosen from, and a name to tell it from others by."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True, eq=False)
class Choice:
    """What a page looks at.

    Attributes:
        facts: what the page says of it first, as (name, value).
    """

    name: str
    pool: Pool
    subset: Subset
    facts: tuple[tuple[str, str], ...] = ()

    @cached_property
    def times(self) -> np.ndarray:
        """How often each row of the pool was chosen, [n] of int64."""
        return np.bincount(self.subset.rows, minlength=len(self.pool))

    @cached_property
    def scored(self) -> np.ndarray:
        """Positions with a finite score, by falling score (ties by position); empty if the method has no scores."""
        if self.subset.scores is None:
            return np.empty(0, np.int64)
        rows = np.flatnonzero(np.isfinite(self.subset.scores))
        return rows[np.argsort(-self.subset.scores[rows], kind="stable")]

    @cached_property
    def cuts(self) -> tuple[float, ...]:
        """Scores that part what was kept from what was dropped: one, or two if the middle or both ends were kept.

        Empty where no score parts them: nothing was scored, all or none of it was kept, or scores were not all that
        decided (quotas per source, draws, rows chosen for their neighbours).
        """
        if len(self.scored) == 0:
            return ()
        kept, scores = self.times[self.scored] > 0, self.subset.scores[self.scored]
        changes = np.flatnonzero(kept[1:] != kept[:-1])
        blurred = len(changes) > 2 and not _ties_alone(scores, kept)
        if len(changes) == 0 or blurred:
            return ()
        return tuple(sorted({float(scores[i + (not kept[i])]) for i in changes}))


def _ties_alone(scores: np.ndarray, kept: np.ndarray) -> bool:
    """Whether kept and dropped rows alternate only among rows of one score."""
    inside = scores[kept]
    between = (scores < inside.max()) & (scores > inside.min()) & ~kept
    return not between.any()


def overlap(subsets: Sequence[Subset]) -> np.ndarray:
    """Jaccard index of every pair, [m, m]: different rows in both over different rows in either."""
    rows = [set(subset.rows.tolist()) for subset in subsets]
    return np.array([[len(a & b) / max(1, len(a | b)) for b in rows] for a in rows])


def overlap_by_chance(first: Subset, second: Subset, pool_rows: int) -> float:
    """The Jaccard index that two draws of these sizes would have on average, to first order: a·b/n rows in common."""
    a, b = len(np.unique(first.rows)), len(np.unique(second.rows))
    common = a * b / pool_rows
    return common / (a + b - common)
