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
        method: its name, for its mark; None if unknown.
    """

    name: str
    pool: Pool
    subset: Subset
    facts: tuple[tuple[str, str], ...] = ()
    method: str | None = None

    @cached_property
    def times(self) -> np.ndarray:
        """How often each row of the pool was chosen, [n] of int64."""
        return np.bincount(self.subset.rows, minlength=len(self.pool))

    @property
    def repeats(self) -> int:
        """How many of the subset's rows are there already: a method may draw a row again."""
        return len(self.subset.rows) - int(np.count_nonzero(self.times))

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
        chosen = self.times[self.scored] > 0
        scores = self.subset.scores[self.scored] if len(self.scored) else np.empty(0)
        kept, dropped = scores[chosen], scores[~chosen]
        if len(kept) == 0 or len(dropped) == 0:
            return ()
        if not _between(dropped, kept):  # one stretch was kept: an end, or the middle
            ends = [kept.min()] if (dropped <= kept.min()).any() else []
            ends += [kept.max()] if (dropped >= kept.max()).any() else []
        elif not _between(kept, dropped):  # one stretch was dropped
            ends = [kept[kept <= dropped.min()].max(), kept[kept >= dropped.max()].min()]
        else:
            return ()
        return tuple(sorted({float(end) for end in ends}))

    @property
    def prefers_low(self) -> bool:
        """Whether kept rows have lower scores than dropped ones, by the mean of their ranks."""
        kept = self.times[self.scored] > 0
        ranks = np.arange(len(kept))
        return bool(kept.any() and not kept.all() and ranks[kept].mean() > ranks[~kept].mean())


def _between(some: np.ndarray, others: np.ndarray) -> bool:
    """Whether one of ``some`` lies strictly inside the range of ``others``."""
    return bool(((some > others.min()) & (some < others.max())).any())


def overlap(subsets: Sequence[Subset]) -> np.ndarray:
    """Jaccard index of every pair, [m, m]: different rows in both over different rows in either."""
    rows = [set(subset.rows.tolist()) for subset in subsets]
    return np.array([[len(a & b) / max(1, len(a | b)) for b in rows] for a in rows])


def overlap_by_chance(first: Subset, second: Subset, pool_rows: int) -> float:
    """The Jaccard index that two draws of these sizes would have on average, to first order: a·b/n rows in common."""
    a, b = len(np.unique(first.rows)), len(np.unique(second.rows))
    common = a * b / pool_rows
    return common / (a + b - common)
