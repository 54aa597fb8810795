"""GraNd: the rows with the largest gradient."""

from dataclasses import dataclass, field

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.gradients import GradientNorm, Scope
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked_rows
from selectmm.methods.subset import Subset, unanswered
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Grand:
    """Score: ‖g‖₂ of a row's mean answer loss with respect to the LoRA matrices after a warm-up; the highest are kept.

    A row without an answer token within the length limit has no gradient; it comes last and is counted.

    Paul, Ganguli and Dziugaite, Deep Learning on a Data Diet (arXiv 2107.07075), with TIVE's gradient and warm-up.

    Several images in a row: the gradient is that of the row's answers, which see all of them.

    Attributes:
        warmup: the training that the reference model gets, by default TIVE's.
        scope: LoRA matrices of the ``self_attn`` projections, or of ``all_linear`` layers.
    """

    warmup: WarmUp = field(default_factory=WarmUp)
    scope: Scope = "self_attn"

    def needs(self) -> Needs:
        """A warm-up, then every row's gradient norm."""
        return Needs((GradientNorm(self.scope),), warmup=self.warmup)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the largest gradients."""
        norms = np.asarray(features[GradientNorm(self.scope)], np.float64)
        scores, excluded = unanswered(np.where(norms > 0, norms, np.nan))
        return Subset(ranked_rows(pool, scores, budget, "high"), scores, excluded)
