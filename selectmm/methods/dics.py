"""DICS (arXiv 2608.30209): rows whose image, question and answer need each other, far apart from one another."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.features.blind import Removal
from selectmm.features.consistency import Consistency
from selectmm.features.feature import Features
from selectmm.features.states import JointStates
from selectmm.methods.clustering import Vectors
from selectmm.methods.content import by_content
from selectmm.methods.farthest import farthest
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.ranges import NotNegative
from selectmm.methods.subset import Subset
from selectmm.models.forward import LAST
from selectmm.pool.pool import Pool

STATES = JointStates(LAST, "last_token")
DIGITS = 6  # of the score; the ratios are in float32


@dataclass(frozen=True)
class Dics:
    """Score: the smaller of exp(L(y|x) − L(y|x, I)) and exp(L(x|I) − L(x|y, I)) (`Consistency`); 1 for a text-only row,
    and at most 1 for a row without an answer.

    With a budget of k rows below half of the pool: the 2k rows with the highest scores, and of these k by
    farthest-point sampling: the longest state first, then again and again the row that is farthest from the nearest
    chosen one, by its state at its last token. With half of the pool: the k highest. Above half: the 2k − n highest of
    n rows, and the rest by farthest-point sampling among the others. From the paper's text; no code was to be had, and
    a note that we read calls one version of the paper withdrawn: check before you cite it.

    What the paper leaves open, and what is done here:
    - Its model is tuned on a random share first, for the scores alone.
    - The tagger behind the weights of function words, and how tags meet tokens: a list of words of the closed classes
      here, see `Consistency`; ``light=1`` counts all tokens alike.
    - What a weighted mean is divided by: ``mean``.
    - What the turns of a row see of each other, see `Consistency`.
    - Whether rows of the core count as chosen when the rest is sampled: ``from_core``.
    - Its own tables give two figures for the same random draw (AI2D 45.08 and 50.91).

    Several images in a row: I is all of them; the losses without image take all of them away.

    Attributes:
        warmup: of the model.
        light, mean, removal: see `Consistency`.
        from_core: above half of the pool, the farthest-point sampling among the others starts from the core's rows;
            else from the longest of the others.
    """

    warmup: RandomWarmUp = field(default_factory=RandomWarmUp)
    light: NotNegative = 0.1
    mean: Literal["weights", "tokens"] = "weights"
    removal: Removal = "drop"
    from_core: bool = False

    def needs(self) -> Needs:
        """The two ratios and the last state of every row, after a warm-up."""
        return Needs((self._feature(), STATES), warmup=self.warmup, images=True)

    def _feature(self) -> Consistency:
        return Consistency(self.light, self.mean, self.removal)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the highest scores, or those of them that are far apart."""
        order = by_content(pool)
        ratios = np.asarray(features[self._feature()], np.float64)[order]
        score = np.where(pool.image_of[order] < 0, 1.0, np.round(ratios[:, :2].min(1), DIGITS))
        ranking = ranked(score, len(pool), "high")
        core = ranking[: max(0, 2 * budget - len(pool))]
        others = ranking[len(core) : 2 * budget]
        if 2 * budget == len(pool):
            chosen = ranking[:budget]
        else:
            chosen = np.concatenate([core, self._apart(features, order, core, np.sort(others), budget - len(core))])
        by_row = np.empty(len(pool))
        by_row[order] = score
        return Subset(order[chosen], by_row)

    def _apart(
        self, features: Features, order: np.ndarray, core: np.ndarray, others: np.ndarray, count: int
    ) -> np.ndarray:
        """The places of ``count`` of the ``others`` that are far apart."""
        first = core if self.from_core else core[:0]
        places = np.concatenate([first, others])
        vectors = Vectors(features[STATES], order[places])
        return places[farthest(vectors, len(first) + count, len(first))[len(first) :]]
