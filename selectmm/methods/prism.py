"""PRISM (arXiv 2502.12119): keep the rows whose image looks least like all the others to the model."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.frames import Frames, FrameStates
from selectmm.features.states import ImageStates, JointStates, Pooling
from selectmm.methods.content import in_order_of_content
from selectmm.methods.correlation import Centering, mean_correlation
from selectmm.methods.images import Several, of_rows, text_first
from selectmm.methods.method import Needs
from selectmm.methods.order import Keep, ranked, shares
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Prism:
    """Score: the mean correlation of a row's image feature with every other row's; the lowest are kept.

    The feature is the mean hidden state of the image tokens after a shallow layer of the target model. All text-only
    rows are kept. The authors' ``fraction`` of visual rows is what the budget leaves after them (0.333 in the released
    counts, 0.30 in the text); if the text-only rows alone fill the budget, every kind of row gets its proportional
    share of it, the text rows at random.

    Several images in a row: our reading, since the paper's rows have one. Its visual feature is the mean over its
    images' features, each of which is computed of the image alone; ``joint`` sees the whole row anyway. A clip is an
    image whose tokens are those of all frames that the model sees, unless ``frames`` says otherwise; no paper defines
    the method for clips.

    Attributes:
        layer: decoder layer (from 1). The paper says shallow; the integer is not known.
        pool: ``mean`` over the image tokens, or the ``last_token``.
        features: ``visual`` tokens, or all tokens of the conversation (``joint``).
        centering: ``corpus_mean`` subtracts the mean feature; ``per_vector`` each feature's own mean over its channels
            (an ordinary Pearson correlation, the paper's 2025 version); ``none``.
        scope: ``per_source`` scores and ranks each source by itself, with a budget in proportion to its size (what the
            released counts show); ``global`` all visual rows together.
        keep: the ``low``, ``medium`` or ``high`` end of the ranking.
        several: of a row with several images the ``mean`` over their features, or the ``first`` image's.
        frames: of a clip, pool over the tokens of all frames ``together``; or over those of ``each`` frame, and take
            the mean over frames (another value for ``last_token`` alone); or of the ``middle`` frame. Not for
            ``joint``.
    """

    layer: int = 1
    pool: Pooling = "mean"
    features: Literal["visual", "joint"] = "visual"
    centering: Centering = "corpus_mean"
    scope: Literal["per_source", "global"] = "per_source"
    keep: Keep = "low"
    several: Several = "mean"
    frames: Frames = "together"

    def needs(self) -> Needs:
        """States of the shallow layer, and rows with images to rank."""
        return Needs((self._feature(),), images=True)

    def _feature(self) -> ImageStates | FrameStates | JointStates:
        if self.features == "joint":
            return JointStates(self.layer, self.pool)
        if self.frames == "together":
            return ImageStates(self.layer, self.pool)
        return FrameStates(self.layer, self.frames, self.pool)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """All text-only rows, and of the others those least (or most) like the rest."""
        visual = np.flatnonzero(pool.image_of >= 0)
        chosen = [text_first(pool, budget, rng)]
        values, units = features[self._feature()], visual
        if self.features == "visual":
            values, units = of_rows(values, pool, visual, self.several)
        group = self._groups(pool, visual)
        scores = np.full(len(pool), np.nan)
        scores[visual] = mean_correlation(values, units, group, self.centering)
        group_of = np.full(len(pool), -1)
        group_of[visual] = group
        ordered = in_order_of_content(pool, visual)
        for number, count in enumerate(shares(np.bincount(group), budget - len(chosen[0]))):
            own = ordered[group_of[ordered] == number]
            chosen.append(own[ranked(scores[own], int(count), self.keep)])
        return Subset(np.concatenate(chosen), scores)

    def _groups(self, pool: Pool, visual: np.ndarray) -> np.ndarray:
        """The group that each visual row is ranked in, [visual rows] of int."""
        if self.scope == "global":
            return np.zeros(len(visual), np.int64)
        return np.unique(pool.source_of[visual], return_inverse=True)[1]
