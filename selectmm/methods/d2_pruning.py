"""D2 pruning (arXiv 2310.07931): sure rows in dense places first, and then fewer of their neighbours."""

import heapq
import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.margin import NO_MARGIN, AnswerMargin
from selectmm.features.states import JointStates
from selectmm.methods.clustering import Vectors, nearest
from selectmm.methods.content import by_content
from selectmm.methods.method import Needs
from selectmm.methods.ranges import Count, NotNegative
from selectmm.methods.subset import Subset
from selectmm.models.forward import LAST
from selectmm.pool.pool import Pool

log = logging.getLogger("selectmm")

STATES = JointStates(LAST, "mean")
FLOOR = 1e-7  # what a row counts at least, as in the authors' code
DIGITS = 14  # values that agree in so many are the same


@dataclass(frozen=True)
class D2Pruning:
    """Score: a row's own value plus that of its nearest rows, each weighted by how near it is; the highest are kept,
    and each that is taken lowers its neighbours.

    A row's value s is the margin of its answer (`AnswerMargin`), its place the mean last state of its tokens, D the
    squared distance to each of its k nearest rows. First, g_i = max(s_i, 1e-7) + Σ_j exp(−forward_gamma · D_ij) ·
    max(s_j, 1e-7). Then, one row after the other, the highest g_i is taken, and g_j falls by g_i · exp(−gamma · D_ij)
    for each of its neighbours. Read from adymaharana/d2pruning at bf1ea46 (MIT) and its port in G-JWLee/COINCIDE_code
    at 629f776 (no licence); no line is theirs.

    Where the two leave something open, or bend, this is what is done here:
    - A high margin means an easy row, and the port keeps those first (``keep=easy``); the original leaves the sign of
      its difficulty to the user.
    - The port's neighbours are approximate (IVFPQ), its means include padding, and in place of the highest g it takes
      an approximation; all three are exact here. The time of exact neighbours grows with the square of the rows:
      LLaVA-665K at 4,096 channels takes 2 · 10¹⁵ operations in float64.
    - D is not scaled: with long states exp(−D) is nothing, and only a row's own margin counts. The median of exp(−D) is
      printed, and ``normalise`` scales states to length 1.
    - All values of at most 1e-7 are 1e-7: rows whose margin is not positive differ by their neighbours alone.
    - A row without an answer token has the value 0.

    Several images in a row: margin and state are of the whole row.

    Attributes:
        keep: ``easy`` rows first (the port's), or ``hard`` ones (the margin's sign is turned).
        neighbours: k; the original's default is 10, the port's 5.
        gamma: of what a row that is taken does to its neighbours. forward_gamma: of what they give it; the authors'
            code has none there, which is 1.
        normalise: scale states to length 1 first.
    """

    keep: Literal["easy", "hard"] = "easy"
    neighbours: Count = 5
    gamma: NotNegative = 0.4
    forward_gamma: NotNegative = 1.0
    normalise: bool = False

    def needs(self) -> Needs:
        """Margins and mean last states of every row."""
        return Needs((AnswerMargin(), STATES))

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows that are highest, one after the other."""
        order = by_content(pool)
        found, away = nearest(Vectors(features[STATES], order, unit=self.normalise), self.neighbours)
        if away.size:
            log.info("            the median of exp(−D) over neighbours is %.2g", float(np.median(np.exp(-away))))
        margins = np.asarray(features[AnswerMargin()], np.float64)[order]
        margins = np.where(margins == NO_MARGIN, 0.0, margins if self.keep == "easy" else -margins)
        own = np.maximum(margins, FLOOR)
        values = np.round(own + (np.exp(-self.forward_gamma * away) * own[found]).sum(1), DIGITS)
        chosen = descend(values, found, np.exp(-self.gamma * away), budget)
        by_row = np.empty(len(pool))
        by_row[order] = values
        missing = int((np.asarray(features[AnswerMargin()]) == NO_MARGIN).sum())
        excluded = {"no answer token within recipe.max_length (value 0)": missing} if missing else {}
        return Subset(order[chosen], by_row, excluded)


def descend(values: np.ndarray, found: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """Take the highest value, the earlier of two, and lower its neighbours; ``count`` times. [count] of int64.

    Args:
        values: [n]. found, weights: of each row's neighbours, [n, k]; a value falls by the weight times the value that
            was taken.
    """
    values = values.copy()
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
        for other, weight in zip(found[place].tolist(), weights[place].tolist(), strict=True):
            if free[other]:
                values[other] = round(values[other] + negative * weight, DIGITS)
                heapq.heappush(heap, (-float(values[other]), other))
    return np.array(chosen)
