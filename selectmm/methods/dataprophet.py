"""DataProphet (arXiv 2603.19688): how much of each source to take for the target benchmarks."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked, ranked_rows, shares
from selectmm.methods.ranges import Count
from selectmm.methods.subset import Subset
from selectmm.methods.transfer import Embedding, Transfer
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class DataProphet:
    """Score: the metric M(u→T) of a row, averaged over the targets; sources get shares of the budget by M(s→T).

    `selectmm.methods.transfer` computes M from the frozen model: likeness of questions, answers and images, the
    perplexities, and the diversity of the source. A target is a benchmark, known by examples.

    What the paper leaves open, and what we do: several targets count equally (each target's shares sum to 1 and are
    averaged); a share that exceeds its source is capped and the rest goes to the others in proportion; a source whose
    M is negative gets none.

    Several images in a row: its image is the mean over their states, each image seen alone.

    Attributes:
        layer: of the embeddings of questions, answers and images; 0 is the model's own frozen encoders (token
            embeddings, and the vision tower with its projector).
        clusters: K of the diversity's k-means. silhouette_rows: rows per source that the silhouette is computed on.
        level: ``source`` draws uniformly inside a source's share; ``row`` keeps the highest rows by M(u→T), without
            shares.
    """

    layer: int = 0
    clusters: Count = 10
    silhouette_rows: Count = 2000
    level: Literal["source", "row"] = "source"

    def needs(self) -> Needs:
        """Embeddings and answer losses of rows and of target examples."""
        return Needs(Embedding(self.layer).features, targets=True, sources=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every source's share by its metric, its rows at random."""
        seed = int(rng.integers(2**31))
        transfer = Transfer.of(pool, features, Embedding(self.layer), self.clusters, self.silhouette_rows, seed)
        scores = transfer.of_rows.mean(1)
        if self.level == "row":
            return Subset(ranked_rows(pool, scores, budget, "high"), scores)
        metric = np.maximum(transfer.of_sources, 0)  # cosines may be negative, shares may not
        mixture = (metric / np.maximum(metric.sum(0), 1e-30)).mean(1)
        keys, chosen = random_keys(pool, rng), []
        sizes = np.array([pool.counts()[source] for source in transfer.sources])
        for source, count in zip(transfer.sources, capped(mixture, sizes, budget).tolist(), strict=True):
            own = np.flatnonzero(pool.sources == source)
            chosen.append(own[ranked(keys[own], count, "low")])
        return Subset(np.concatenate(chosen), scores)


def capped(weights: np.ndarray, sizes: np.ndarray, total: int) -> np.ndarray:
    """Split ``total`` in proportion to ``weights``, no share above its size; what does not fit goes to the others.

    Args:
        weights: [groups], not negative. sizes: [groups] of int; total ≤ sum(sizes).

    Returns:
        [groups] of int64 that sum to ``total``.
    """
    full = np.zeros(len(sizes), bool)
    while True:  # rounded once, when it is known who is full: rounding again and again would add up
        left = total - int(sizes[full].sum())
        open_weights = np.where(full, 0.0, weights)
        if open_weights.sum() <= 0:  # only groups of weight 0 have rows left
            open_weights = np.where(full, 0, sizes)
        exact = open_weights * (left / max(open_weights.sum(), 1e-300))
        if not (filled := ~full & (exact >= sizes)).any():
            return np.where(full, sizes, shares(open_weights, left) if left else 0)
        full |= filled
