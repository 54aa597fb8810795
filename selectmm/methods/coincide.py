"""COINCIDE (arXiv 2406.10995): share the budget out among clusters that transfer well and are not dense."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.outputs import AttentionOutputs
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.mmd import gaussian, greedy
from selectmm.methods.quotas import quotas
from selectmm.methods.ranges import Count, Positive
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

BLOCK = 1024  # centres that are compared with all others at a time
DIGITS = 9  # cosines and scores that agree in so many are the same


@dataclass(frozen=True)
class Coincide:
    """Score of a cluster, and of its rows: transferability / density. Clusters share the budget out, and inside each
    the rows are kept that stand for all of it best (`selectmm.methods.mmd.greedy`).

    A row is what attention adds to the residual stream at five layers, for image and text (`AttentionOutputs`); rows
    are clustered by spherical k-means. Transferability is the mean cosine of a cluster's centre with the other centres,
    of the text half alone, without those above ``mask``; density the mean Gaussian kernel over all pairs of its rows,
    each with itself included. The cluster with the highest score is served first: it gets softmax(score / temperature),
    over the clusters not served yet, of what is left of the budget, and so on down to the last, which gets all that is
    left. Read from G-JWLee/COINCIDE_code at 629f776, which has no licence; no line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - Their features are of a small model, TinyLLaVA-2.0B; here of the experiment's own, before tuning.
    - They cut image and text out at fixed places, which in a row without image takes text for image; here such a row
      has no visual half.
    - Their clusters are faiss', and change with its version; so no published list of rows can be made again exactly.
    - Their clustering.sh does not run as published: a line continuation and an argument are missing.
    - What a cluster cannot take because it has fewer rows goes to the others in proportion to their softmax, so that
      the budget is met. A cluster whose every neighbour is masked has transferability 0.

    Several images in a row: their tokens are taken together, and the text is what follows the last of them.

    Attributes:
        layers, depth: see `AttentionOutputs`.
        clusters, rows_per_cluster: at most so many clusters, and fewer if one would have less than so many rows on
            average; the published 10,000 are 66 rows each on LLaVA-665K.
        iterations: of k-means, at most.
        temperature: of the softmax over clusters.
        mask: centres whose text halves have a higher cosine are not counted as others.
        sigma: width of the Gaussian kernel.
    """

    layers: Sequence[int] = (4, 8, 12, 16, 20)
    depth: int | None = 24
    clusters: Count = 10_000
    rows_per_cluster: Count = 66
    iterations: Count = 50
    temperature: Positive = 0.1
    mask: float = 0.9
    sigma: Positive = 1.0

    def needs(self) -> Needs:
        """What attention adds at some layers."""
        return Needs((self._feature(),))

    def _feature(self) -> AttentionOutputs:
        return AttentionOutputs(tuple(self.layers), self.depth)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every cluster's share of the budget, its rows by how well they stand for it."""
        order = by_content(pool)
        vectors = Vectors(features[self._feature()], order, unit=True)
        count = min(self.clusters, max(1, len(pool) // self.rows_per_cluster))
        found = kmeans(vectors, count, rng, spherical=True, iterations=self.iterations)
        groups = [order[places] for places in groups_of(found.labels)]
        densities = [self._density(vectors.values, group) for group in groups]
        scores = np.round(transferability(found.centres, self.mask) / np.array(densities), DIGITS)
        counts = served(scores, np.array([len(group) for group in groups]), budget, self.temperature)
        kept = [self._inside(vectors.values, group, n) for group, n in zip(groups, counts.tolist(), strict=True)]
        by_row = np.empty(len(pool))
        by_row[order] = scores[found.labels]
        return Subset(np.concatenate(kept), by_row)

    def _density(self, values: np.ndarray, group: np.ndarray) -> float:
        return float(gaussian(Vectors(values, group, unit=True), self.sigma).mean())

    def _inside(self, values: np.ndarray, group: np.ndarray, count: int) -> np.ndarray:
        if count in (0, len(group)):
            return group[:count]
        return group[greedy(gaussian(Vectors(values, group, unit=True), self.sigma), count)]


def transferability(centres: np.ndarray, mask: float) -> np.ndarray:
    """Mean cosine of each centre's second half with those of the others that it is at most ``mask`` with; [clusters].

    0 where there is no such other. A half of zeros has cosine 0 with everything.
    """
    text = centres[:, centres.shape[1] // 2 :]
    lengths = np.linalg.norm(text, axis=1, keepdims=True)
    text = np.divide(text, lengths, out=np.zeros_like(text), where=lengths > 0)
    means = np.zeros(len(text))
    for start in range(0, len(text), BLOCK):
        cosines = np.round(text[start : start + BLOCK] @ text.T, DIGITS)
        counted = cosines <= mask
        counted[np.arange(len(cosines)), start + np.arange(len(cosines))] = False  # itself, even if it is all zeros
        sums = np.where(counted, cosines, 0).sum(1)
        means[start : start + BLOCK] = sums / np.maximum(counted.sum(1), 1)
    return means


def served(scores: np.ndarray, sizes: np.ndarray, budget: int, temperature: float) -> np.ndarray:
    """Rows that each cluster gives, [clusters] of int64 that sum to ``budget``.

    Clusters are served from the highest score down, ties to the earlier; each gets the share of what is left that
    softmax(scores / temperature) over the clusters not served yet gives it, rounded, and at most its size. What the
    last cannot take is shared out again by the softmax over the clusters that have rows left.
    """
    order = np.argsort(-scores, kind="stable")
    logits = scores / temperature
    following = np.logaddexp.accumulate(logits[order][::-1])[::-1]  # exponentials by themselves would underflow
    given = np.zeros(len(sizes), np.int64)
    left = budget
    for cluster, rest in zip(order.tolist(), following.tolist(), strict=True):
        given[cluster] = min(round(left * np.exp(logits[cluster] - rest)), sizes[cluster])
        left -= int(given[cluster])
    if left:
        logits[given == sizes] = -np.inf
        given += quotas(np.exp(logits - logits.max()), sizes - given, left)
    return given
