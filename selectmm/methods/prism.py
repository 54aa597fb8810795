"""PRISM (arXiv 2502.12119): keep the rows whose image looks least like all the others to the model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Values
from selectmm.features.states import ImageStates, JointStates
from selectmm.methods.order import lowest, random_keys, shares
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Prism:
    """Score: the mean correlation of a row's image feature with every other row's; the lowest are kept.

    The feature is the mean hidden state of the image tokens after a shallow layer of the target model. All text-only
    rows are kept. The authors' ``fraction`` of visual rows is what the budget leaves after them (0.333 in the released
    counts, 0.30 in the text); if the text-only rows alone exceed the budget, every kind of row gets its proportional
    share of it, the text rows at random.

    Attributes:
        layer: decoder layer (from 1). The paper says shallow; the integer is not known.
        pool: ``mean`` over the image tokens, or the ``last_token``.
        features: ``visual`` tokens, or all tokens of the conversation (``joint``).
        centering: ``corpus_mean`` subtracts the mean feature; ``per_vector`` each feature's own mean over its channels
            (an ordinary Pearson correlation, the paper's 2025 version); ``none``.
        scope: ``per_source`` scores and ranks each source by itself, with a budget in proportion to its size (what the
            released counts show); ``global`` all visual rows together.
        keep: the ``low``, ``medium`` or ``high`` end of the ranking.
    """

    layer: int = 1
    pool: Literal["mean", "last_token"] = "mean"
    features: Literal["visual", "joint"] = "visual"
    centering: Literal["corpus_mean", "per_vector", "none"] = "corpus_mean"
    scope: Literal["per_source", "global"] = "per_source"
    keep: Literal["low", "medium", "high"] = "low"

    def needs(self) -> tuple[ImageStates | JointStates]:
        kind = ImageStates if self.features == "visual" else JointStates
        return (kind(self.layer, self.pool),)

    def select(self, pool: Pool, features: Values, budget: int, rng: np.random.Generator) -> Subset:
        visual = np.flatnonzero(pool.image_of >= 0)
        text = np.flatnonzero(pool.image_of < 0)
        if len(visual) == 0:
            raise UserError(
                "method=prism ranks rows by their images, but no row of the pool has one; use another method."
            )
        texts = len(text) if len(text) < budget else int(shares(np.array([len(text), len(visual)]), budget)[0])
        chosen = [text[lowest(random_keys(pool, rng)[text], texts)]]
        scores = np.full(len(pool), np.nan)
        groups = self._groups(pool, visual)
        for group, count in zip(groups, shares(np.array([len(g) for g in groups]), budget - texts), strict=True):
            scores[group] = mean_correlation(self._rows(pool, features, group), self.centering)
            chosen.append(group[self._kept(scores[group], int(count))])
        return Subset(np.concatenate(chosen), scores)

    def _groups(self, pool: Pool, visual: np.ndarray) -> list[np.ndarray]:
        if self.scope == "global":
            return [visual]
        sources = pool.sources[visual]
        return [visual[sources == source] for source in sorted(set(sources.tolist()))]

    def _rows(self, pool: Pool, features: Values, group: np.ndarray) -> np.ndarray:
        values = features[self.needs()[0]]
        return values[pool.image_of[group]] if self.features == "visual" else values[group]

    def _kept(self, scores: np.ndarray, count: int) -> np.ndarray:
        if self.keep == "high":
            return lowest(-scores, count)
        start = (len(scores) - count) // 2 if self.keep == "medium" else 0
        return lowest(scores, len(scores))[start : start + count]


def mean_correlation(features: np.ndarray, centering: Literal["corpus_mean", "per_vector", "none"]) -> np.ndarray:
    """``R_i`` = mean over j ≠ i of ``g_i · g_j``, g the centred unit features; [n] of float64 from [n, width].

    Linear in n: ``R_i = (g_i · S − g_i · g_i) / (n − 1)`` with ``S = Σ_j g_j``; the n × n matrix is never built. A
    feature that centring turns into zero correlates with nothing (0); a single row scores 0.
    """
    g = np.asarray(features, np.float64)
    if centering == "corpus_mean":
        g = g - g.mean(0)
    elif centering == "per_vector":
        g = g - g.mean(1, keepdims=True)
    norms = np.linalg.norm(g, axis=1, keepdims=True)
    # What rounding leaves of an exact zero is not a direction.
    real = norms > 1e-12 * np.linalg.norm(features, axis=1, keepdims=True)
    g = np.divide(g, norms, out=np.zeros_like(g), where=real)
    return (g @ g.sum(0) - (g * g).sum(1)) / max(len(g) - 1, 1)
