"""VisNec (arXiv 2603.01195): keep the rows whose answer needs the image most, of every kind of question alike."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss, Removal
from selectmm.features.feature import Features
from selectmm.features.sentences import EMBEDDED, QuestionEmbedding
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.quotas import quotas
from selectmm.methods.ranges import Count
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class VisNec:
    """Score: answer loss without the image − answer loss with it; the highest of each cluster of questions are kept.

    A text-only row scores 0, between images that help and images that hurt. A row's first question is embedded by a
    sentence encoder, the embeddings are clustered, and every cluster gives the same share of its rows. Read from the
    authors' code, github.com/DMK041218/VisNec at f0a4e9d, which has no licence of its own; no line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - They keep int(share · size) of a cluster, at least one, which does not sum up to the budget: shares here are
      rounded by largest remainders.
    - They cluster with scikit-learn's MiniBatchKMeans (batches of 2,048, seed 42), whose result depends on the order of
      the rows; here it is full k-means, with the experiment's seed. The clusters are not theirs row by row.
    - Their model is LLaVA before its second stage; here it is the experiment's model, not tuned.
    - A row whose answer does not fit within ``recipe.max_length`` is taken only when nothing else is left.

    Several images in a row: the loss without image takes all of them away.

    Attributes:
        clusters: of questions; no more than half of the rows, nor than distinct questions.
        iterations: of k-means, at most.
        encoder: of questions, see `QuestionEmbedding`; the authors' by default.
        removal: how the image is taken away, see `BlindLoss`: ``mask`` (the authors') or ``drop``.
    """

    clusters: Count = 20
    iterations: Count = 100
    encoder: str = EMBEDDED
    removal: Removal = "mask"

    def needs(self) -> Needs:
        """The answers' loss with and without the image, and what the questions are about."""
        return Needs((AnswerLoss(), BlindLoss(self.removal), QuestionEmbedding(self.encoder)), images=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every cluster's share of the budget, its rows by how much they need their image."""
        order = by_content(pool)
        scores, excluded = self._scores(pool, features)
        questions = Vectors(features[QuestionEmbedding(self.encoder)], order)
        labels = kmeans(questions, self.clusters, rng, spherical=False, iterations=self.iterations).labels
        groups = [order[places] for places in groups_of(labels)]
        sizes = np.array([len(group) for group in groups])
        counts = quotas(sizes.astype(np.float64), sizes, budget).tolist()
        kept = [group[ranked(scores[group], n, "high")] for group, n in zip(groups, counts, strict=True)]
        return Subset(np.concatenate(kept), scores, excluded)

    def _scores(self, pool: Pool, features: Features) -> tuple[np.ndarray, dict[str, int]]:
        """Of each row, NaN without an answer token; and how many those are."""
        sighted, excluded = unanswered(features[AnswerLoss()])
        blind, _ = unanswered(features[BlindLoss(self.removal)])
        return np.where((pool.image_of < 0) & ~np.isnan(sighted), 0.0, blind - sighted), excluded
