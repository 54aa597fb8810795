"""LESS (arXiv 2402.04333): the rows on which Adam's next step would help the target benchmarks most."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.features.adam import AdamGradient
from selectmm.features.feature import Features
from selectmm.features.gradients import ProjectedGradient, Scope
from selectmm.methods.content import by_content
from selectmm.methods.influence import influences, mean_gradient, parts_of
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.ranges import Count
from selectmm.methods.rds_plus import round_robin
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

DIGITS = 12  # influences that agree in so many are the same

WARMUP = RandomWarmUp(dropout=0.1, alpha=512, lora_layers="attention", lr=2e-5, epochs=4)


@dataclass(frozen=True)
class Less:
    """Score: the influence of a row on a benchmark, the mean over the benchmark's examples of Σ_c w_c · cosine of the
    row's Adam step and the example's plain gradient at checkpoint c of a warm-up; the highest are kept.

    Both are of the LoRA weights and projected with the same signs (`AdamGradient`, `ProjectedGradient`). w_c is the
    mean learning rate of the steps up to checkpoint c from the one before, all of them scaled to sum 1. Of a benchmark
    whose examples come in parts (a source such as ``MME/count``) the highest influence over the parts counts. Read from
    princeton-nlp/LESS at 8abf962 (MIT); no line is theirs.

    Where the paper or the authors' code leaves something open, this is what is done here:
    - One target at a time is chosen for there; several at once are ours: ``targets``.
    - Their training has a checkpoint after each of four epochs; here ``checkpoints`` stand at equal distances of steps.
      With one, it is LESS at a single point of the training. A warm-up of fewer steps has as many as it has steps.
    - Their rates fall in a straight line, the experiment's recipe's along a cosine, so the w_c differ.
    - Their step has ε inside the root and no bias correction, unlike the Adam that trains; so here.
    - The mean over examples is taken once, before the inner product, which is the same.
    - Their projection is one matrix of random signs for the whole gradient; see `ProjectedGradient`.
    - A row without an answer token has no gradient of its own and is taken only when nothing else is left; theirs
      would be scored by the moments alone.

    Several images in a row: a gradient is the whole row's, with all of its images.

    Attributes:
        warmup: the training whose checkpoints are read.
        checkpoints: how many, the last one at its end.
        projection_dim: numbers per projected gradient; 32 KiB a row and checkpoint at 8,192, 22 GB for LLaVA-665K.
        scope: whose LoRA matrices.
        targets: of several benchmarks, the ``max`` or ``mean`` of the influences on them, or ``round_robin``: they take
            turns in choosing.
        parts: of a benchmark's parts, the ``max`` or the ``mean``.
    """

    warmup: RandomWarmUp = field(default_factory=lambda: WARMUP)
    checkpoints: int = 4
    projection_dim: Count = 8192
    scope: Scope = "self_attn"
    targets: Literal["max", "mean", "round_robin"] = "max"
    parts: Literal["max", "mean"] = "max"

    def needs(self) -> Needs:
        """At every checkpoint, Adam's steps on the rows and plain gradients of the target examples."""
        if self.checkpoints < 1:
            raise UserError(f"method.checkpoints={self.checkpoints}: influence is measured at one checkpoint at least.")
        return Needs(
            (self._row(),),
            targets=True,
            target_features=(self._example(),),
            warmup=self.warmup,
            snapshots=self.checkpoints,
        )

    def _row(self) -> AdamGradient:
        return AdamGradient(self.projection_dim, scope=self.scope)

    def _example(self) -> ProjectedGradient:
        return ProjectedGradient(self.projection_dim, scope=self.scope)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the highest influence."""
        order = by_content(pool)
        helped = self._influences(features, order)
        answered = np.asarray(features[self._row()][:, 0])[order] > 0
        helped[~answered] = -np.inf
        score = helped.mean(1) if self.targets == "mean" else helped.max(1)
        chosen = round_robin(helped.T, budget) if self.targets == "round_robin" else ranked(score, budget, "high")
        by_row = np.empty(len(pool))
        by_row[order] = np.where(answered, score, np.nan)
        missing = int((~answered).sum())
        excluded = {"no answer token within recipe.max_length": missing} if missing else {}
        return Subset(order[chosen], by_row, excluded)

    def _influences(self, features: Features, order: np.ndarray) -> np.ndarray:
        """Of each row on each benchmark, [rows, benchmarks]."""
        rates = np.array([point.rate for point in features.snapshots])
        weights = rates / rates.sum() if rates.sum() > 0 else np.full(len(rates), 1 / len(rates))
        parts = list(parts_of(features.targets.pool).values())
        total = np.zeros((len(order), sum(map(len, parts))))
        for weight, point in zip(weights.tolist(), features.snapshots, strict=True):
            examples = point.targets[self._example()]
            means = np.stack([mean_gradient(examples, rows, unit=True) for part in parts for rows in part])
            total += weight * influences(point[self._row()], order, means)
        split = np.split(np.round(total, DIGITS), np.cumsum([len(part) for part in parts])[:-1], axis=1)
        return np.stack([one.max(1) if self.parts == "max" else one.mean(1) for one in split], 1)
