"""The rows whose image and text fit best."""

from dataclasses import dataclass

import numpy as np

from selectmm.errors import UserError
from selectmm.features.clip import ClipScore
from selectmm.features.feature import Features
from selectmm.methods.images import TextOnly, highest_images
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class ByClipScore:
    """Score: cosine of CLIP's embeddings of image and text; the highest are kept.

    Several images in a row: the mean of their cosines with the row's text.

    Attributes:
        checkpoint: a Hugging Face CLIP (folder or hub id); papers use ``openai/clip-vit-large-patch14``. There is no
            default, because nothing is fetched unless asked for.
        text_only: rows without image are all kept (``keep_all``; if they would fill the budget, their proportional
            share of it), or only taken when nothing else is left (``exclude``).
    """

    checkpoint: str | None = None
    text_only: TextOnly = "keep_all"

    def needs(self) -> Needs:
        """CLIP's cosine of every row."""
        if self.checkpoint is None:
            raise UserError(
                "method=clip_score needs a CLIP: set method.checkpoint to a folder that holds one, or, while online, "
                "to a hub id such as openai/clip-vit-large-patch14."
            )
        return Needs((ClipScore(self.checkpoint),), images=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the highest cosine."""
        (feature,) = self.needs().features
        visual = np.flatnonzero(pool.image_of >= 0)
        scores = np.full(len(pool), np.nan)
        scores[visual] = features[feature][visual]
        return highest_images(pool, scores, budget, self.text_only, rng)
