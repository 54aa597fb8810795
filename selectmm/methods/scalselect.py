"""ScalSelect (arXiv 2602.11636): keep the rows that matter most for the dominant subspace of the pool."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.features.attended import AttendedStates
from selectmm.features.feature import Features
from selectmm.features.frames import AttendedFrames, Frames
from selectmm.methods.images import TextOnly, highest_images
from selectmm.methods.leverage import leverage
from selectmm.methods.method import Needs
from selectmm.methods.ranges import Share
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class ScalSelect:
    """Score: the statistical leverage of a row in the top singular directions of the pool; the highest are kept.

    A row is the mean state, after the first decoder layer, of the image tokens that its instruction attends to
    (`selectmm.features.attended.AttendedStates`). No sampling and no quotas. As in the authors' script, columns are
    centred and rows are not scaled.

    Several images in a row: attention chooses among the tokens of all of them together, and so among those of a clip's
    frames, unless ``frames`` says otherwise; no paper defines the method for either.

    Attributes:
        layer: decoder layer (from 1) of attention and states; the authors use the first.
        attention_mass: share of the attention that the image tokens kept hold.
        energy: share of the squared singular values that decides how many directions count.
        conditioning, user_mask: see `AttendedStates`.
        centering: subtract the mean of every column.
        text_only: rows without image are all kept (``keep_all``; if they would fill the budget, their proportional
            share of it), or only taken when nothing else is left (``exclude``; the paper's pool has none). The
            authors' code drops them in silence.
        frames: of a clip, attention chooses among the tokens of all frames ``together``; or among those of ``each``
            frame, and the row is the mean over frames; or of the ``middle`` frame. See `AttendedFrames`.
    """

    layer: int = 1
    attention_mass: Share = 0.9
    energy: Share = 0.9
    conditioning: Literal["attended", "all_image_tokens"] = "attended"
    user_mask: Literal["template", "everything_but_answers"] = "template"
    centering: bool = True
    text_only: TextOnly = "keep_all"
    frames: Frames = "together"

    def needs(self) -> Needs:
        """Attended states of the layer, and rows with images to rank."""
        return Needs((self._feature(),), images=True)

    def _feature(self) -> AttendedStates | AttendedFrames:
        if self.frames == "together":
            return AttendedStates(self.layer, self.attention_mass, self.user_mask, self.conditioning)
        return AttendedFrames(self.frames, self.layer, self.attention_mass, self.user_mask, self.conditioning)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows of highest leverage."""
        visual = np.flatnonzero(pool.image_of >= 0)
        scores = np.full(len(pool), np.nan)
        scores[visual] = leverage(features[self._feature()], visual, self.energy, self.centering)
        return highest_images(pool, scores, budget, self.text_only, rng)
