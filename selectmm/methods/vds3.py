"""GDO's score of clips (arXiv 2603.12478): easy with the clip, hard without it, and much moves."""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss, Removal
from selectmm.features.feature import Feature, Features
from selectmm.features.motion import FrameDifference
from selectmm.methods.content import in_order_of_content
from selectmm.methods.images import of_rows
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked, shares
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool

CAP = 4.0  # standard deviations that a term counts at most
LOSS = AnswerLoss()


@dataclass(frozen=True)
class Vds3:
    """Score: −z(answer loss) + z(answer loss without what is shown) + z(difference of frames); the highest are kept.

    z is the distance from the mean of all rows with images or clips in standard deviations, at most 4. From GDO's code,
    github.com/rujiewu/GDO at 4a82ccf (MIT; gdo/build_pair.py, ``legacy_vds3_score``): ``vds3``, which is most of the
    score of a row with a clip there. This is not the whole method: its other parts need a language model's labels and
    sampled answers, or stand for single questions. Rows with clips, with images alone and without either are selected
    apart, each in proportion to their number, as GDO's quotas by kind of row are. Images are ranked by the first two
    terms, since nothing moves in them (GDO has another score for images); rows without either are drawn at random.

    Several images in a row: the losses are the row's, and the difference is the mean over its images and clips, 0 for
    an image.

    Attributes:
        score: all three terms (``vds3``); ``vds``, the loss without minus the loss with; or ``frame_difference``.
        frames: of a clip that are compared, at most.
        removal: how images and clips are taken away, see `BlindLoss`; GDO writes the question without them (``drop``).
    """

    score: Literal["vds3", "vds", "frame_difference"] = "vds3"
    frames: Annotated[int, Ge(2)] = 8
    removal: Removal = "drop"

    def needs(self) -> Needs:
        """The losses and the difference, as far as the score has them."""
        losses: tuple[Feature, ...] = (LOSS, BlindLoss(self.removal)) if self.score != "frame_difference" else ()
        moves: tuple[Feature, ...] = (FrameDifference(self.frames),) if self.score != "vds" else ()
        return Needs((*losses, *moves), images=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every kind of row's share of the budget, the highest scores of it."""
        rows = in_order_of_content(pool, np.flatnonzero(pool.image_of >= 0))
        scores = np.full(len(pool), np.nan)
        scores[rows], excluded = self._scores(pool, features, rows)
        chance, kinds, kept = random_keys(pool, rng), _kinds(pool), []
        for kind, count in enumerate(shares(np.bincount(kinds, minlength=3), budget).tolist()):
            own = in_order_of_content(pool, np.flatnonzero(kinds == kind))
            order = ranked(chance[own], count, "low") if kind == TEXT else ranked(scores[own], count, "high")
            kept.append(own[order])
        return Subset(np.concatenate(kept), scores, excluded)

    def _scores(self, pool: Pool, features: Features, rows: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
        """Of ``rows``, NaN without an answer token; and how many these are of the pool's."""
        moved, excluded = np.zeros(len(rows)), {}
        if self.score != "vds":
            values, unit = of_rows(features[FrameDifference(self.frames)], pool, rows, "mean")
            moved = np.asarray(values, np.float64)[unit]
        if self.score == "frame_difference":
            return moved, excluded
        sighted, excluded = unanswered(features[LOSS])
        blind, _ = unanswered(features[BlindLoss(self.removal)])
        if self.score == "vds":
            return (blind - sighted)[rows], excluded
        return -standard(sighted[rows]) + standard(blind[rows]) + standard(moved), excluded


TEXT, CLIPS = 0, 2  # kinds of rows; those with images alone are in between


def _kinds(pool: Pool) -> np.ndarray:
    """Of each row, [rows] of int."""
    kinds = np.where(pool.image_of >= 0, 1, TEXT)
    kinds[pool.showing(pool.clips)] = CLIPS
    return kinds


def standard(values: np.ndarray) -> np.ndarray:
    """Distance from the mean in standard deviations, at most `CAP`; 0 where all values are the same. NaN stays."""
    if np.isnan(values).all():
        return values
    spread = np.nanstd(values)
    return np.clip((values - np.nanmean(values)) / spread, -CAP, CAP) if spread > 0 else values * 0.0
