"""ICONS (arXiv 2501.00654): every target benchmark votes for the rows that would help it most."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.gradients import ProjectedGradient, Scope
from selectmm.methods.content import by_content
from selectmm.methods.influence import influences, mean_gradient, parts_of
from selectmm.methods.method import Needs
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.ranges import Count, Percentile
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

log = logging.getLogger("selectmm")

DIGITS = 12  # influences that agree in so many are the same


@dataclass(frozen=True)
class Icons:
    """Score: the number of benchmarks that a row is among the most helpful for; the highest are kept.

    The influence of a row on a benchmark is the inner product of its gradient, at length 1, with the mean gradient of
    the benchmark's examples, after a warm-up; plain gradients of the LoRA weights, projected. A benchmark votes for the
    rows whose influence reaches a percentile of the pool's. Read from princetonvisualai/icons at b8ce8c8, which has no
    licence; no line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - Scores are whole numbers from 0 to the number of benchmarks, so the cut falls inside one score; an unstable sort
      decides there. Here the mean influence over the benchmarks does, and then what a row says. How many rows that
      concerns is printed.
    - A row without an answer token has no gradient; such rows get no votes and come last.
    - They vote by the percentile 100 − budget; ``percentile`` is that of the experiment's budget unless it is given.
    - Of MME, whose 13 tasks they take apart, gradients are not scaled to length 1 before the mean, of all other
      benchmarks they are; MME's influence is the highest over its tasks. Here that holds for every benchmark whose
      examples come in parts (a source such as ``MME/count``); its influences are divided by the length of the longest
      mean, so that their scale does not count in the mean over the benchmarks.
    - Their reference model is the 500th step of LLaVA's LoRA run over the whole pool, and it carries the adapter twice,
      merged and again on top. Here it is a run over a random share, and carries it once.
    - Their projection is one matrix of random signs for the whole gradient; see `ProjectedGradient`.

    Several images in a row: the gradient is that of the row's answers, which see all of them.

    Attributes:
        warmup: the training that the reference model gets.
        projection_dim: numbers per projected gradient; 20 KiB a row at 5,120, 14 GB for LLaVA-665K. scope: whose LoRA
            matrices.
        percentile: that a row's influence has to reach for a vote, 0 to 100; None: 100 minus the budget in per cent.
        tie: what decides between rows with as many votes: ``mean_influence`` over benchmarks, or ``key``, which is what
            the row says.
        parts: of a benchmark with parts, the ``max`` or ``mean`` of the influences on them. part_gradients: ``raw`` or
            scaled to length 1 (``unit``) before their mean.
    """

    warmup: RandomWarmUp = field(default_factory=RandomWarmUp)
    projection_dim: Count = 5120
    scope: Scope = "all_linear"
    percentile: Percentile | None = None
    tie: Literal["mean_influence", "key"] = "mean_influence"
    parts: Literal["max", "mean"] = "max"
    part_gradients: Literal["raw", "unit"] = "raw"

    def needs(self) -> Needs:
        """A warm-up, then projected gradients of every row and every target example."""
        return Needs((self._feature(),), targets=True, warmup=self.warmup)

    def _feature(self) -> ProjectedGradient:
        return ProjectedGradient(self.projection_dim, scope=self.scope)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows with the most votes."""
        order = by_content(pool)
        helped = np.round(self._influences(features, order), DIGITS)
        percentile = 100 * (1 - budget / len(pool)) if self.percentile is None else self.percentile
        votes = (helped >= np.percentile(helped, percentile, axis=0)).sum(1)
        answered = np.asarray(features[self._feature()][:, 0])[order] > 0
        votes[~answered] = -1  # their influence of 0 is none, though it may be among the highest
        second = helped.mean(1) if self.tie == "mean_influence" else np.zeros(len(pool))
        chosen = np.lexsort((-second, -votes))[:budget]
        level = votes[chosen].min()
        log.info(
            "            %s of %s kept rows have the %d votes of the last one, as %s others; %s decided among them",
            f"{(votes[chosen] == level).sum():,}", f"{budget:,}", level,
            f"{(votes == level).sum() - (votes[chosen] == level).sum():,}", self.tie,
        )  # fmt: skip
        by_row = np.empty(len(pool))
        by_row[order] = np.where(answered, votes, np.nan)
        missing = int((~answered).sum())
        excluded = {"no answer token within recipe.max_length": missing} if missing else {}
        return Subset(order[chosen], by_row, excluded)

    def _influences(self, features: Features, order: np.ndarray) -> np.ndarray:
        """Of each row on each benchmark, [rows, benchmarks]."""
        examples = features.targets[self._feature()]
        columns: list[np.ndarray] = []
        for parts in parts_of(features.targets.pool).values():
            means = self._means(examples, parts)
            made = influences(features[self._feature()], order, means)
            columns.append(made.max(1) if self.parts == "max" else made.mean(1))
        return np.stack(columns, 1)

    def _means(self, examples: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
        unit = len(parts) == 1 or self.part_gradients == "unit"
        means = np.stack([mean_gradient(examples, rows, unit) for rows in parts])
        if unit:
            return means
        longest = np.linalg.norm(means, axis=1).max()  # dividing by it changes no vote, and makes benchmarks comparable
        return means / (longest if longest > 0 else 1)
