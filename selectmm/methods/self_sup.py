"""Self-supervised prototypes (arXiv 2206.14486): the rows far from the centre of their cluster, or near it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from selectmm.features.feature import Features
from selectmm.features.states import JointStates, Pooling
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.ranges import Count
from selectmm.methods.subset import Subset
from selectmm.models.forward import LAST
from selectmm.pool.pool import Pool

DIGITS = 9  # distances that agree in so many, as shares of the largest, are the same


@dataclass(frozen=True)
class SelfSup:
    """Score: a row's distance from the centre of its cluster, by k-means on the model's last states.

    Sorscher et al., Beyond Neural Scaling Laws (arXiv 2206.14486): where data are plentiful, keep the hard rows, far
    from the centres; where they are scarce, the easy ones. The papers that report "Self-Sup" for vision-language models
    released no code, and say neither which end they kept, nor how many clusters they had, nor which embedding: none of
    their numbers can be said to be this method's. So ``keep`` has no default.

    Several images in a row: the states are those of the whole row.

    Attributes:
        keep: ``hard``: the rows farthest from their centre. ``easy``: the nearest.
        pool: the state of the ``last_token`` of a row, or the ``mean`` over its tokens.
        normalise: scale states to length 1 first.
        clusters, rows_per_cluster: at most so many clusters, and fewer if one would have less than so many rows on
            average; COINCIDE's numbers.
        iterations: of k-means, at most.
    """

    keep: Literal["hard", "easy"]
    pool: Pooling = "last_token"
    normalise: bool = True
    clusters: Count = 10_000
    rows_per_cluster: Count = 66
    iterations: Count = 50

    def needs(self) -> Needs:
        """Last states of every row."""
        return Needs((self._feature(),))

    def _feature(self) -> JointStates:
        return JointStates(LAST, self.pool)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The chosen end of the ranking by distance."""
        order = by_content(pool)
        vectors = Vectors(features[self._feature()], order, unit=self.normalise)
        count = min(self.clusters, max(1, len(pool) // self.rows_per_cluster))
        found = kmeans(vectors, count, rng, spherical=False, iterations=self.iterations)
        centres, away = torch.from_numpy(found.centres), np.empty(len(pool))
        for some, block in vectors.blocks():
            own = centres[found.labels[some]].to(block.device)
            away[some] = (block - own).norm(dim=1).cpu().numpy()
        rounded = np.round(away / max(away.max(), 1e-300), DIGITS)
        by_row = np.empty(len(pool))
        by_row[order] = away
        return Subset(order[ranked(rounded, budget, "high" if self.keep == "hard" else "low")], by_row)
