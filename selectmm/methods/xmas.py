"""XMAS (arXiv 2510.01454): rows whose hold on the image stays the same while a model learns, of every kind alike."""

from dataclasses import dataclass, field

import numpy as np

from selectmm.errors import UserError
from selectmm.features.coupling import ImageCoupling
from selectmm.features.feature import Features
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.ranges import Count
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

SMALL = 2  # rows of a cluster that the authors drop
DIGITS = 6  # of instabilities; the trajectories are in float32


@dataclass(frozen=True)
class Xmas:
    """Score: Σ |differences| of a row's trajectory, its `ImageCoupling` at each checkpoint of a training; the lowest of
    each cluster of trajectories are kept.

    Clusters of more than two rows are served in the order of their size, the smallest first: each gets what is left of
    the budget divided by the clusters that are left, or all its rows. Text-only rows, which have no trajectory, are one
    more cluster, and are drawn at random. Read from BigML-CS-UCLA/XMAS at c3e95c8 (MIT); no line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - Their model is a TinyLLaVA all of whose weights are trained on the whole pool once, with a checkpoint every 200
      steps, about 100 at 665 thousand rows, and a pass over the pool at each. Here it is the experiment's model with
      LoRA, and ``checkpoints`` at equal distances, the last one at the end. The training is charged to the method.
    - Their singular values come from a randomised decomposition, and places from fixed numbers; here both are exact.
    - Their cluster_and_sample.sh reads a variable that it never sets.
    - They drop rows of clusters with one or two; here those are taken when all others are.

    Several images in a row: the coupling is that of the words behind the last one with the tokens of all of them.

    Attributes:
        warmup: the training whose checkpoints are read.
        checkpoints: how many; the fewest with a difference are two.
        values: singular values that are added up.
        clusters: of trajectories, at most. iterations: of k-means, at most.
    """

    warmup: RandomWarmUp = field(default_factory=lambda: RandomWarmUp(fraction=1.0, lr=2e-5))
    checkpoints: int = 5
    values: Count = 5
    clusters: Count = 1000
    iterations: Count = 100

    def needs(self) -> Needs:
        """The coupling of words and image at every checkpoint."""
        if self.checkpoints < 2:
            raise UserError(f"method.checkpoints={self.checkpoints}: a trajectory has at least two.")
        return Needs((self._feature(),), warmup=self.warmup, snapshots=self.checkpoints, images=True)

    def _feature(self) -> ImageCoupling:
        return ImageCoupling(self.values)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The steadiest rows of each cluster of trajectories.

        Raises:
            UserError: the training took a single step, so that there are no two checkpoints.
        """
        if len(features.snapshots) < 2:
            raise UserError("method=xmas needs two checkpoints, but its warm-up takes one step; raise warmup.fraction.")
        order, keys = by_content(pool), random_keys(pool, rng)
        paths = np.stack([np.asarray(point[self._feature()], np.float64) for point in features.snapshots], 1)[order]
        unsteady = np.round(np.abs(np.diff(paths, axis=1)).sum(1), DIGITS)
        shown = pool.image_of[order] >= 0
        seen, others = np.flatnonzero(shown), np.flatnonzero(~shown)
        first = np.where(shown, unsteady, keys[order])  # lowest first
        labels = kmeans(Vectors(paths, seen), self.clusters, rng, spherical=False, iterations=self.iterations).labels
        clusters = [seen[places] for places in groups_of(labels)]
        clusters += [others] if len(others) else []
        chosen = served(clusters, first, budget)
        by_row = np.empty(len(pool))
        by_row[order] = np.where(shown, unsteady, np.nan)
        return Subset(order[chosen], by_row)


def served(clusters: list[np.ndarray], first: np.ndarray, budget: int) -> np.ndarray:
    """Places of the rows that the clusters give, the smallest cluster first; [budget] of int64.

    Args:
        clusters: places of each one's rows. first: a number for each place; a cluster gives its lowest.
    """
    large = [cluster for cluster in clusters if len(cluster) > SMALL]
    chosen: list[int] = []
    for number, cluster in enumerate(sorted(large, key=len)):
        share = (budget - len(chosen)) // (len(large) - number)
        chosen += cluster[ranked(first[cluster], share, "low")].tolist()
    rest = np.concatenate([np.empty(0, np.int64), *(cluster for cluster in clusters if len(cluster) <= SMALL)])
    chosen += rest[ranked(first[rest], budget - len(chosen), "low")].tolist()
    return np.array(chosen, np.int64)
