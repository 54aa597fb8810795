"""TIVE (arXiv 2403.09559): budgets by the difficulty of a task, rows by their influence on it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.features.gradients import ProjectedGradient, Scope
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked, shares, weighted_keys
from selectmm.methods.ranges import Count, NotNegative
from selectmm.methods.subset import Subset, unanswered
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool

BLOCK = 1024  # gradients held at a time


@dataclass(frozen=True)
class Tive:
    """Score: the influence of a row on its task, the mean cosine of its gradient with those of the task's rows.

    A task is a source. Its budget is in proportion to its difficulty, the mean norm of its gradients, and not to its
    size; inside it rows are drawn with weights that grow with influence. The model is warmed up first. If a budget
    exceeds a task, the whole task is taken as often as it fits and the rest is drawn, so rows may repeat (authors'
    code). Rows without an answer token within the length limit have no gradient; inside a task they come last.

    **At the authors' default the draw inside a task is practically uniform**: their code multiplies the influence, at
    most 1, by 0.001 before the softmax, so weights differ by at most 0.2 %; the paper speaks of a temperature, which
    divides. Budgets here add up exactly; the authors' ``int()`` loses up to one row per task.

    Several images in a row: the gradient is that of the row's answers, which see all of them.

    Attributes:
        warmup: the training that the reference model gets, by default the authors'.
        projection_dim: numbers per projected gradient. scope: whose LoRA matrices.
        difficulty: mean ``norm``, or mean ``squared_norm``; ``size`` gives a task its share of the pool instead (an
            ablation).
        sharpness: weights are softmax(sharpness · influence) under ``multiply``, softmax(influence / sharpness) under
            ``divide``. sharpness_by: which of the two.
        exclude: sources that get no budget, as far as the pool has them. The authors leave TextCaps out, but count its
            rows in the pool's size. In LLaVA-665K its rows show the images of TextVQA and have their folder's name,
            ``textvqa``, as source; if your pool has rows of TextVQA itself, leave that name out.
    """

    warmup: WarmUp = field(default_factory=WarmUp)
    projection_dim: Count = 8192
    scope: Scope = "self_attn"
    difficulty: Literal["norm", "squared_norm", "size"] = "norm"
    sharpness: NotNegative = 0.001
    sharpness_by: Literal["multiply", "divide"] = "multiply"
    exclude: Sequence[str] = ("textcaps", "textvqa")

    def needs(self) -> Needs:
        """A warm-up, then every row's projected gradient; sources are its tasks.

        Raises:
            UserError: influence would be divided by 0.
        """
        if self.sharpness_by == "divide" and self.sharpness == 0:
            raise UserError(
                "method.sharpness=0 divides no influence; give a number above 0, or set method.sharpness_by=multiply."
            )
        return Needs((self._feature(),), warmup=self.warmup, sources=True)

    def _feature(self) -> ProjectedGradient:
        return ProjectedGradient(self.projection_dim, scope=self.scope)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every task's budget by its difficulty, its rows drawn by influence."""
        tasks = self._tasks(pool)
        gradients = features[self._feature()]
        budgets = shares(self._difficulties(np.asarray(gradients[:, 0], np.float64), tasks), budget)
        scores, chosen = np.full(len(pool), np.nan), []
        sharp = self.sharpness if self.sharpness_by == "multiply" else 1 / self.sharpness
        answered = np.asarray(gradients[:, 0]) > 0
        for task in tasks:
            scores[task] = np.where(answered[task], influence(gradients, task), np.nan)
        keys = weighted_keys(pool, sharp * np.nan_to_num(scores), rng)
        keys[~answered] += 1 + np.ptp(keys)  # behind all others
        for task, count in zip(tasks, budgets.tolist(), strict=True):
            chosen += [np.tile(task, count // len(task)), task[ranked(keys[task], count % len(task), "low")]]
        left_out = len(pool) - sum(len(task) for task in tasks)
        excluded = unanswered(scores[np.concatenate(tasks)])[1]
        if left_out:
            excluded = {**excluded, "rows of excluded sources": left_out}
        return Subset(np.concatenate(chosen), scores, excluded)

    def _difficulties(self, norms: np.ndarray, tasks: Sequence[np.ndarray]) -> np.ndarray:
        """What the budgets are in proportion to, [tasks], none of them 0."""
        if self.difficulty == "size":
            return np.array([len(task) for task in tasks], np.float64)
        measure = norms**2 if self.difficulty == "squared_norm" else norms
        return np.array([max(measure[task].mean(), 1e-30) for task in tasks])

    def _tasks(self, pool: Pool) -> list[np.ndarray]:
        """Rows of each task, by name."""
        out = {name.lower() for name in self.exclude}
        names = [name for name in sorted(pool.counts()) if name.lower() not in out]
        if not names:
            raise UserError("method=tive is told to exclude every source of the pool; change method.exclude.")
        return [np.flatnonzero(pool.sources == name) for name in names]


def influence(gradients: np.ndarray, task: np.ndarray) -> np.ndarray:
    """``I_i = mean_{j in task} cos(g_i, g_j) = ĝ_i · mean_j ĝ_j``, itself included; [rows of the task] of float64.

    Linear in the rows, a block of gradients at a time; a gradient of zero has no direction and scores 0.

    Args:
        gradients: [rows, 1 + dim], the norm and then the projected gradient. task: positions of its rows.
    """
    total = sum(_directions(gradients, some).sum(0) for some in _blocks(task))
    return np.concatenate([_directions(gradients, some) @ (total / len(task)) for some in _blocks(task)])


def _blocks(task: np.ndarray) -> list[np.ndarray]:
    return [task[start : start + BLOCK] for start in range(0, len(task), BLOCK)]


def _directions(gradients: np.ndarray, rows: np.ndarray) -> np.ndarray:
    projected = np.asarray(gradients[rows, 1:], np.float64)
    norms = np.linalg.norm(projected, axis=1, keepdims=True)
    return np.divide(projected, norms, out=np.zeros_like(projected), where=norms > 0)
