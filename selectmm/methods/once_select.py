"""OnceSelect (arXiv 2605.26761): of every cluster, rows that a small classifier is unsure of, unlike one another."""

import math
from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Feature, Features
from selectmm.features.pairs import TARGET, pair_of
from selectmm.methods import kdpp
from selectmm.methods.cluster_classifier import Training, confidence
from selectmm.methods.clustering import Clusters, Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.quotas import quotas
from selectmm.methods.ranges import AtLeastOne, Count, NotNegative, Share, ShareBelowOne, ShareOrNone
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

DIGITS = 6  # confidences that agree in so many are the same


@dataclass(frozen=True)
class OnceSelect:
    """Score: the confidence of a small classifier that learned the clusters' cores; low ones of every cluster, drawn so
    that they are unlike one another.

    A row is its image beside the mean of its questions, each at length 1; both together at length 1 are z, by which
    rows are clustered with k-means. The ``core_share`` of each cluster nearest its centre teach a classifier the
    clusters (`cluster_classifier`). A cluster's quota is in proportion to its size, at least one. Its candidates are
    the ``candidates`` · quota rows of lowest confidence; they are put into a random order and cut into blocks; each
    block gives its share by an exact k-DPP with the kernel √q_i · ½(1 + cos(z_i, z_j)) · √q_j, where q falls from 1
    with the rank of the confidence. From the README and scripts of DMK041218/OnceSelect at 74b302f, in which we saw no
    licence; no line is theirs.

    Where these leave something open, or bend, this is what is done here:
    - 128 clusters in the README, 20 in a script's default; MiniBatchKMeans, which depends on the order of the rows.
      Here 128 by full k-means.
    - Blocks follow from the order of the file there; here from what the rows say, and the seed.
    - The README and the scripts' defaults differ: here the README's 128 clusters, batches of 1,024 and an ``accuracy``
      of 0.6. The classifier is the one after the epoch whose accuracy is nearest to that; if no epoch reaches it, as
      with few rows, the nearest is not near.
    - A cluster of one row teaches that row, and is not judged.
    - They leave rows without an image out; here these are kept, with zeros in the image's place.
    - They read each sample's nearest centre where a selector made for one pool scores another; here it is made for the
      pool itself.
    - A variant without sampling, by how confidence grows, is not here: it was not specified in what we read.

    Several images in a row: the image's half is the mean over them (with ``target``, over the tokens of all of them).

    Attributes:
        encoder: ``target`` (what enters the experiment's own decoder), or a CLIP, a folder or hub id; theirs is
            ``openai/clip-vit-base-patch32``.
        clusters: at most. iterations: of k-means, at most.
        core_share: of each cluster, rounded up, at least two rows.
        wide, gate, dropout, epochs, validation, accuracy: see `Training`.
        candidates: rows per row of the quota.
        block: rows that are sampled from at a time.
        jitter: is added to the kernel's diagonal.
    """

    encoder: str = TARGET
    clusters: Count = 128
    iterations: Count = 100
    core_share: Share = 0.03
    wide: Count = 256
    gate: Count = 128
    dropout: ShareBelowOne = 0.1
    epochs: Count = 100
    validation: ShareOrNone = 0.2
    accuracy: ShareOrNone = 0.6
    candidates: AtLeastOne = 2.0
    block: Count = 128
    jitter: NotNegative = 1e-8

    def needs(self) -> Needs:
        """Image and text of every row."""
        return Needs((self._pair(),))

    def _pair(self) -> Feature:
        return pair_of(self.encoder, "unit", "questions")

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every cluster's quota."""
        order, keys = by_content(pool), random_keys(pool, rng)
        vectors = Vectors(features[self._pair()], order, unit=True)
        found = kmeans(vectors, self.clusters, rng, spherical=False, iterations=self.iterations)
        clusters = groups_of(found.labels)
        core = self._core(vectors, found, clusters)
        how = Training(self.wide, self.gate, self.dropout, self.epochs, self.validation, self.accuracy)
        pairs = Vectors(vectors.values, order)  # image and text each at length 1
        sure = np.round(confidence(pairs, core, found.labels[core], how, int(rng.integers(2**62))), DIGITS)
        sizes = np.array([len(cluster) for cluster in clusters])
        counts = by_size(sizes, budget)
        kept = [
            self._drawn(vectors, cluster, sure[cluster], keys[order[cluster]], count, rng)
            for cluster, count in zip(clusters, counts.tolist(), strict=True)
        ]
        by_row = np.empty(len(pool))
        by_row[order] = sure
        return Subset(order[np.concatenate(kept)], by_row)

    def _core(self, vectors: Vectors, found: Clusters, clusters: list[np.ndarray]) -> np.ndarray:
        """Places of the rows nearest the centre of their cluster."""
        chosen = []
        for cluster, centre in zip(clusters, found.centres, strict=True):
            near = Vectors(vectors.values, vectors.rows[cluster], unit=True)
            away = [np.linalg.norm(block.cpu().numpy() - centre, axis=1) for _, block in near.blocks()]
            count = min(len(cluster), max(2, math.ceil(self.core_share * len(cluster))))
            chosen.append(cluster[ranked(np.round(np.concatenate(away), 9), count, "low")])
        return np.concatenate(chosen)

    def _drawn(
        self,
        vectors: Vectors,
        cluster: np.ndarray,
        sure: np.ndarray,
        keys: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """``count`` places of a cluster."""
        unsure = ranked(sure, max(count, math.ceil(self.candidates * count)), "low")
        quality = 1 - np.arange(len(unsure)) / max(len(unsure), 1)
        shuffled = np.argsort(keys[unsure], kind="stable")
        blocks = np.split(shuffled, range(self.block, len(shuffled), self.block))
        sizes = np.array([len(block) for block in blocks])
        given = quotas(np.maximum(sizes, 1e-9), sizes, count).tolist()
        chosen = [np.empty(0, np.int64)]
        for block, number in zip(blocks, given, strict=True):
            if number:
                places = cluster[unsure[block]]
                kernel = self._kernel(vectors.take(places).cpu().numpy(), quality[block])
                chosen.append(places[kdpp.sample(kernel, number, rng)])
        return np.concatenate(chosen)

    def _kernel(self, vectors: np.ndarray, quality: np.ndarray) -> np.ndarray:
        alike = (1 + np.clip(vectors @ vectors.T, -1, 1)) / 2
        return np.sqrt(quality)[:, None] * alike * np.sqrt(quality) + self.jitter * np.eye(len(vectors))


def by_size(sizes: np.ndarray, budget: int) -> np.ndarray:
    """Quotas in proportion to the sizes of clusters, at least one each if the budget has one for each; [clusters].

    Clusters whose share rounds to none get one, and the others share the rest in proportion to their sizes.

    Args:
        sizes: [clusters] of int, none 0. budget: at most ``sizes.sum()``.
    """
    counts = quotas(sizes.astype(float), sizes, budget)
    raised = np.zeros(len(sizes), bool)
    while budget >= len(sizes) and not counts.all():
        raised |= counts == 0
        counts[raised] = 1
        others = sizes[~raised]
        counts[~raised] = quotas(others.astype(float), others, budget - int(raised.sum()))
    return counts
