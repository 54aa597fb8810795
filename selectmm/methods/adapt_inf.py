"""Adapt-∞ (arXiv 2410.10636): in every cluster, the score that tells its rows apart best, and rows from all over it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.features.answers import AnswerError, AnswerLoss
from selectmm.features.blind import BlindLoss
from selectmm.features.entropy import AnswerEntropy
from selectmm.features.feature import Feature, Features
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.states import JointStates
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.quotas import quotas
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.ranges import BelowHalf, Count
from selectmm.methods.subset import Subset, unanswered
from selectmm.models.forward import LAST
from selectmm.pool.pool import Pool

FEATURES: dict[str, tuple[Feature, ...]] = {
    "perplexity": (AnswerLoss(),),
    "el2n": (AnswerError(),),
    "entropy": (AnswerEntropy(),),
    "grand": (GradientNorm(),),
    "grounding": (AnswerLoss(), BlindLoss()),
}
"""What each score is made of."""


@dataclass(frozen=True)
class AdaptInf:
    """Rows are clustered; each cluster gets the same budget, picks the one of several scores whose histogram has the
    largest entropy, and draws rows evenly over that score's range, without its ends.

    Scores: ``perplexity`` (the answer's log perplexity), ``el2n``, ``entropy`` of the next token over the answer,
    ``grand`` (the gradient's norm), ``grounding`` (answer loss without the image − with it). From adymaharana/adapt-inf
    at d1b1b25 (MIT), where the pool arrives task by task and the model is what the tasks before have made of it; here
    the pool is there at once.

    Where the authors' code leaves something open, this is what is done here:
    - Their histogram counts standardised scores in bins between −4 and 4 times the deviation that the score had before,
      so which score is picked depends on the unit of each. Here the bins lie between a score's lowest and highest value
      in the cluster, which needs no scaling. Of scores with the same entropy the first in ``scores`` is picked.
    - They cluster gradients or states with scikit-learn's MiniBatchKMeans; here it is full k-means, of mean last states
      unless ``cluster_by`` is ``gradients``.
    - They go through the bins from the highest, round each bin's share up, and may draw more rows than the budget
      has. Here the rows that do not divide evenly come from bins at random. What a cluster or a bin cannot give goes to
      the others. Rows at the ends, and rows without an answer token, are taken when a cluster has no others left.
    - Their optional removal of near-duplicates is a method of its own here, `SemDeDup`.

    Several images in a row: scores and states are of the whole row; the score without image takes all of them away.

    Attributes:
        scores: names of those to pick from, at least one.
        clusters: of the rows, at most. iterations: of k-means, at most.
        cluster_by: mean last ``states``, or projected ``gradients``.
        projection_dim: numbers per projected gradient.
        bins: of the histogram, and of the draw.
        trim: share of a cluster's rows at each end of the score that is left out.
        warmup: of the model, if gradients are read; without ``grand`` and gradients there is none.
    """

    scores: Sequence[str] = ("perplexity", "el2n", "entropy", "grand", "grounding")
    clusters: Count = 10
    iterations: Count = 100
    cluster_by: Literal["states", "gradients"] = "states"
    projection_dim: Count = 8192
    bins: Count = 50
    trim: BelowHalf = 0.05
    warmup: RandomWarmUp = field(default_factory=RandomWarmUp)

    def needs(self) -> Needs:
        """What the scores are made of, and what rows are clustered by."""
        for name in self.scores:
            if name not in FEATURES:
                raise UserError(f"method.scores names '{name}', which is not one of {', '.join(FEATURES)}.")
        if not self.scores:
            raise UserError(f"method.scores is empty; name at least one of {', '.join(FEATURES)}.")
        wanted = dict.fromkeys([feature for name in self.scores for feature in FEATURES[name]])
        gradients = "grand" in self.scores or self.cluster_by == "gradients"
        return Needs((*wanted, self._place()), warmup=self.warmup if gradients else None)

    def _place(self) -> Feature:
        if self.cluster_by == "gradients":
            return ProjectedGradient(self.projection_dim)
        return JointStates(LAST, "mean")

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every cluster's equal share, drawn over the range of the score that it picked."""
        order = by_content(pool)
        keys = random_keys(pool, rng)
        vectors = Vectors(self._vectors(features), order)
        labels = kmeans(vectors, self.clusters, rng, spherical=False, iterations=self.iterations).labels
        groups = [order[places] for places in groups_of(labels)]
        table = {name: self._score(name, pool, features) for name in self.scores}
        sizes = np.array([len(group) for group in groups])
        scores, kept = np.full(len(pool), np.nan), []
        for group, count in zip(groups, quotas(np.ones(len(groups)), sizes, budget).tolist(), strict=True):
            name = max(self.scores, key=lambda name, group=group: spread(table[name][group], self.bins))
            scores[group] = table[name][group]
            kept.append(group[stratified(scores[group], keys[group], count, self.bins, self.trim)])
        missing = int(np.isnan(table[self.scores[0]]).sum())
        excluded = {"no answer token within recipe.max_length": missing} if missing else {}
        return Subset(np.concatenate(kept), scores, excluded)

    def _vectors(self, features: Features) -> np.ndarray:
        """What rows are clustered by, [rows, width]; a gradient's first number is its norm, which is left out."""
        values = features[self._place()]
        return values[:, 1:] if self.cluster_by == "gradients" else values

    def _score(self, name: str, pool: Pool, features: Features) -> np.ndarray:
        """Of each row, NaN where it has no answer token; rounded, so that equal rows are equal."""
        values, _ = unanswered(features[FEATURES[name][0]])
        if name == "grand":  # without an answer there is no gradient
            values = np.where(values > 0, values, np.nan)
        if name == "grounding":
            blind, _ = unanswered(features[BlindLoss()])
            values = np.where((pool.image_of < 0) & ~np.isnan(values), 0.0, blind - values)
        return np.round(values, 9)


def spread(scores: np.ndarray, bins: int) -> float:
    """Entropy of the histogram of scores over equal bins from the lowest to the highest, in nats; NaN are left out."""
    known = scores[~np.isnan(scores)]
    if not len(known) or known.min() == known.max():
        return 0.0
    share = np.histogram(known, bins)[0] / len(known)
    share = share[share > 0]
    return round(float(-(share * np.log(share)).sum()), 9)


def stratified(scores: np.ndarray, keys: np.ndarray, count: int, bins: int, trim: float) -> np.ndarray:
    """Places of ``count`` rows drawn evenly over the scores' range without its ends; [count] of int64.

    Coverage-centric selection (arXiv 2210.15809). The ``trim`` lowest and highest of the scores, rounded down, and NaN
    are drawn from when no others are left. Inside a bin the rows with the smallest keys are taken. Where ``count`` is
    no multiple of the number of bins, the bins whose lowest rows have the smallest keys give one row more.

    Args:
        keys: [rows] of random numbers, one a row.
    """
    if not count:
        return np.empty(0, np.int64)
    ranking = ranked(scores, len(scores), "low")
    known = int((~np.isnan(scores)).sum())
    ends = int(trim * known)
    middle = ranking[ends : known - ends]
    others = np.concatenate([ranking[:ends], ranking[known - ends :]])
    if count > len(middle):
        return np.concatenate([middle, others[ranked(keys[others], count - len(middle), "low")]])
    low, high = scores[middle[0]], scores[middle[-1]]
    width = (high - low) / bins
    label = np.zeros(len(middle), np.int64) if width == 0 else np.minimum((scores[middle] - low) // width, bins - 1)
    filled = [group for group in groups_of(label.astype(np.int64)) if len(group)]
    groups = sorted(filled, key=lambda group: float(keys[middle[group[0]]]))  # the first give what does not divide
    sizes = np.array([len(group) for group in groups])
    given = quotas(np.ones(len(groups)), sizes, count).tolist()
    drawn = [g[ranked(keys[middle[g]], n, "low")] for g, n in zip(groups, given, strict=True)]
    return middle[np.concatenate(drawn)]
