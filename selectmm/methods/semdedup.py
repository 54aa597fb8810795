"""SemDeDup (arXiv 2303.09540): drop the rows that say nearly what another row of their cluster says."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from selectmm.features.feature import Features
from selectmm.features.states import JointStates
from selectmm.methods.clustering import Clusters, Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.ranges import Count
from selectmm.methods.subset import Subset
from selectmm.models.forward import LAST
from selectmm.pool.pool import Pool

STATES = JointStates(LAST, "last_token")
TILE = 4096  # rows whose cosines with as many others are held at a time
DIGITS = 9  # cosines that agree in so many are the same


@dataclass(frozen=True)
class SemDeDup:
    """Score: a row's highest cosine with a row of its cluster that comes before it, at least 0; the lowest are kept.

    Rows are the model's last states at their last token, clustered by spherical k-means. In a cluster the rows come in
    the order of their distance from the centre, the farthest first, and each is compared with all before it, dropped
    ones included. The authors drop rows whose score exceeds 1 − ε, which at the ε that leaves the budget is the same
    as keeping the lowest scores; so there is no ε here, and nothing to search for. Read from
    facebookresearch/SemDeDup at 6b41945 (CC BY-NC 4.0) and its port to this setting in G-JWLee/COINCIDE_code at 629f776
    (no licence); no line is theirs.

    What the port does otherwise:
    - It reads the state at position −1 of a batch padded on the right, which for the shorter rows is padding; here it
      is the last token.
    - It tries a list of ε and cuts what is left, in the order of the clusters, at the budget: the last clusters vanish
      as a whole.

    Several images in a row: the state is that of the whole row.

    Attributes:
        clusters: at most. rows_per_cluster: fewer, if a cluster would have less than so many rows on average; the
            published 10,000 are 66 rows each on LLaVA-665K.
        iterations: of k-means, at most.
        keep: ``hard`` rows, far from the centre, come first, or ``easy`` ones, near it.
    """

    clusters: Count = 10_000
    rows_per_cluster: Count = 66
    iterations: Count = 50
    keep: Literal["hard", "easy"] = "hard"

    def needs(self) -> Needs:
        """Last states of every row."""
        return Needs((STATES,))

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows least like the ones before them."""
        order = by_content(pool)
        vectors = Vectors(features[STATES], order, unit=True)
        count = min(self.clusters, max(1, len(pool) // self.rows_per_cluster))
        found = kmeans(vectors, count, rng, spherical=True, iterations=self.iterations)
        scores = np.zeros(len(pool))
        for places in self._sequences(vectors, found):
            scores[places] = redundancy(Vectors(vectors.values, order[places], unit=True))
        by_row = np.empty(len(pool))
        by_row[order] = scores
        return Subset(order[ranked(scores, budget, "low")], by_row)

    def _sequences(self, vectors: Vectors, found: Clusters) -> list[np.ndarray]:
        """The places of each cluster's rows, in the order in which they are compared."""
        near = np.empty(len(vectors))
        centres = torch.from_numpy(found.centres)
        for some, block in vectors.blocks():
            own = centres[found.labels[some]].to(block.device)
            near[some] = (block * own).sum(1).cpu().numpy()
        first = near if self.keep == "hard" else -near
        rounded = np.round(first, DIGITS)
        return [places[np.argsort(rounded[places], kind="stable")] for places in groups_of(found.labels)]


def redundancy(vectors: Vectors) -> np.ndarray:
    """The highest cosine of each vector with an earlier one, at least 0 and rounded; [n]. They are of length 1."""
    highest = np.zeros(len(vectors))
    for some, block in vectors.blocks(beside=TILE):
        own = torch.arange(some.start, some.stop, device=block.device)
        best = torch.zeros(len(block), dtype=block.dtype, device=block.device)
        for earlier, across in vectors.blocks(beside=TILE):
            if earlier.start >= some.stop:
                break
            columns = torch.arange(earlier.start, earlier.stop, device=block.device)
            cosines = (block @ across.T).masked_fill_(columns >= own[:, None], 0)
            best = torch.maximum(best, cosines.max(1).values)
        highest[some] = best.cpu().numpy()
    return np.round(highest, DIGITS)
