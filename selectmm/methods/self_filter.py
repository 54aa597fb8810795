"""Self-Filter's second stage (arXiv 2402.12501): the highest scores of any method, then fewer of their neighbours."""

import heapq
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.cache.source_code import source_of
from selectmm.errors import UserError
from selectmm.features.feature import Feature, Features
from selectmm.features.pairs import TARGET, Halves, pair_of
from selectmm.methods.clustering import Vectors, nearest
from selectmm.methods.content import by_content
from selectmm.methods.el2n import El2n
from selectmm.methods.method import Method, Needs
from selectmm.methods.ranges import Count, NotNegative
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

LISTED = 8  # times as many neighbours are listed as are lowered: those that are taken leave the list
DIGITS = 12  # difficulties that agree in so many are the same


@dataclass(frozen=True)
class SelfFilter:
    """Score: another method's score d. One row after the other, the highest d is taken, and d_j of its nearest
    remaining rows falls by d_i · cos² · gamma.

    The published difficulty is that of a scorer which is trained inside the loss while the whole model is trained three
    times over the pool; that first stage is not here, and any method with scores takes its place, so this is not the
    method that papers call Self-Filter. Read from RayRuiboChen/Self-Filter at ace4618 (AGPL-3.0); no line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - A negative difficulty turns the penalty into a bonus: ``shift`` subtracts the lowest first. Rows that penalties
      bring below 0 still raise their neighbours when they are taken, which large budgets come to.
    - Rows that the other method does not score come last, in the order of what they say.
    - Neighbours are exact, by cosine, and of rows that are as near the earlier one counts.

    Several images in a row: rows are compared as in `OnceSelect`; what they mean to the scores the other method says.

    Attributes:
        difficulty: the method whose scores are read; its options and needs are as without this one. keep: its ``high``
        or its ``low`` scores come first. encoder: what rows are compared by: ``target`` (what enters the experiment's
        own decoder), or a CLIP, a folder or
            hub id; theirs is ViT-L/14. halves: image and text as they are (``raw``), or each at length 1 (``unit``).
        neighbours: remaining rows that each taken one lowers. gamma: see above.
        shift: see above.
        kind: made from the other method's source.
    """

    difficulty: Method = field(default_factory=El2n)
    keep: Literal["high", "low"] = "high"
    encoder: str = TARGET
    halves: Halves = "unit"
    neighbours: Count = 10
    gamma: NotNegative = 1.0
    shift: bool = True
    kind: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", source_of(self.difficulty))

    def needs(self) -> Needs:
        """What the other method needs, and image and text of every row."""
        inner = self.difficulty.needs()
        features = tuple(dict.fromkeys([*inner.features, self._place()]))
        return Needs(
            features,
            inner.targets,
            inner.of_targets if inner.targets else None,
            inner.warmup,
            inner.snapshots,
            inner.reference,
            inner.sources,
            inner.images,
            inner.places,
        )

    def _place(self) -> Feature:
        return pair_of(self.encoder, self.halves)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows that are highest, one after the other.

        Raises:
            UserError: the other method has no scores.
        """
        made = self.difficulty.select(pool, features, budget, rng)
        if made.scores is None:
            raise UserError(
                f"method=self_filter needs scores, but {type(self.difficulty).__name__} gives none; choose another "
                f"method.difficulty."
            )
        order = by_content(pool)
        hard = np.asarray(made.scores, np.float64)[order] * (1 if self.keep == "high" else -1)
        scored = np.flatnonzero(np.isfinite(hard))
        first = scored
        if len(scored):
            values = hard[scored] - (hard[scored].min() if self.shift else 0)
            vectors = Vectors(features[self._place()], order[scored], unit=True)
            first = scored[descend(values, vectors, self.neighbours, self.gamma, min(budget, len(scored)))]
        rest = np.setdiff1d(np.arange(len(pool)), scored)[: budget - len(first)]
        return Subset(order[np.concatenate([first, rest])], made.scores, made.excluded)


def descend(values: np.ndarray, vectors: Vectors, neighbours: int, gamma: float, count: int) -> np.ndarray:
    """Take the highest value, the earlier of two, and lower its nearest remaining rows; [count] of int64.

    A longer list of each row's neighbours is made once. When too many of it have been taken, all rows are compared
    again with the one that lacks them.

    Args:
        values: [n]. vectors: n of length 1. neighbours: rows that each choice lowers, by value · cosine² · gamma.
    """
    values = np.round(values, DIGITS)
    listed, away = nearest(vectors, LISTED * neighbours)
    heap = [(-value, place) for place, value in enumerate(values.tolist())]
    heapq.heapify(heap)
    free = np.ones(len(values), bool)
    chosen: list[int] = []
    while len(chosen) < count:
        negative, place = heapq.heappop(heap)
        if not free[place] or -negative != values[place]:  # an entry from before the value changed
            continue
        free[place] = False
        chosen.append(place)
        near, cosines = listed[place], 1 - away[place] / 2
        if free[near].sum() < min(neighbours, int(free.sum())):
            near, cosines = _all_nearest(vectors, place, free, neighbours)
        some = np.flatnonzero(free[near])[:neighbours]
        for other, cosine in zip(near[some].tolist(), cosines[some].tolist(), strict=True):
            values[other] = round(values[other] + negative * cosine**2 * gamma, DIGITS)
            heapq.heappush(heap, (-float(values[other]), other))
    return np.array(chosen, np.int64)


def _all_nearest(vectors: Vectors, place: int, free: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` remaining rows with the highest cosine to one, the earlier of equal ones first; and the cosines."""
    own, found = vectors.take(np.array([place]))[0], np.empty(len(vectors))
    for some, block in vectors.blocks():
        found[some] = (block @ own).cpu().numpy()
    places = np.flatnonzero(free)
    best = places[np.argsort(-np.round(found[places], DIGITS), kind="stable")[:count]]
    return best, found[best]
