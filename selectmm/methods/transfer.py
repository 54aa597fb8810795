"""DataProphet's metric: how much training on a source should help a target, from a frozen model."""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Feature, Features
from selectmm.features.states import ImageStates, TextStates
from selectmm.methods.content import digests
from selectmm.methods.images import of_rows
from selectmm.methods.subset import unanswered
from selectmm.pool.pool import Pool

LOSS = AnswerLoss()


@dataclass(frozen=True)
class Embedding:
    """Question, answer and image of a row, each as a unit vector.

    A row without image is at right angles to every image and identical to any other row without: it gets a direction of
    its own. (The paper has images everywhere.) A row with several images has the mean over their states.
    """

    layer: int

    @property
    def features(self) -> tuple[Feature, ...]:
        """What has to be computed, on rows and targets alike."""
        question, answer = TextStates("question", self.layer), TextStates("answer", self.layer)
        return question, answer, ImageStates(self.layer), LOSS

    def of(self, pool: Pool, values: dict[Feature, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors [rows, width] of questions, answers, and images (width + 1)."""
        question, answer, image, _ = (np.asarray(values[feature], np.float32) for feature in self.features)
        shown = np.zeros((len(pool), image.shape[1] + 1), np.float32)
        has = pool.image_of >= 0
        own, of_row = of_rows(image, pool, np.flatnonzero(has), "mean")
        shown[has, :-1] = own[of_row]
        shown[~has, -1] = 1
        return _units(question), _units(answer), _units(shown)


@dataclass(frozen=True)
class Transfer:
    """``M(s→t) = QSim · ASim · ISim · PPL(s) · (Sil + H) / PPL(t)`` and its parts.

    QSim, ASim and ISim are expected cosines of independently drawn pairs, which is the product of mean unit vectors.

    Attributes:
        sources, targets: names, sorted.
        question, answer, image: the three similarities, [sources, targets].
        source_perplexity, diversity: [sources]; target_perplexity: [targets].
        of_rows: ``M(u→t)`` of every row, without diversity; [rows, targets].
    """

    sources: list[str]
    targets: list[str]
    question: np.ndarray
    answer: np.ndarray
    image: np.ndarray
    source_perplexity: np.ndarray
    target_perplexity: np.ndarray
    diversity: np.ndarray
    of_rows: np.ndarray

    @property
    def of_sources(self) -> np.ndarray:
        """M, [sources, targets]."""
        likeness = self.question * self.answer * self.image
        return likeness * (self.source_perplexity * self.diversity)[:, None] / self.target_perplexity

    @classmethod
    def of(
        cls, pool: Pool, features: Features, embedding: Embedding, clusters: int, silhouette_rows: int, seed: int
    ) -> "Transfer":
        """Compute it from features of ``embedding``.

        Args:
            clusters: K of k-means. silhouette_rows: rows per source for the silhouette, which is quadratic in them.
            seed: of k-means and of the rows for the silhouette.
        """
        sources, targets = sorted(pool.counts()), sorted(features.targets.pool.counts())
        rows = embedding.of(pool, features.values)
        examples = embedding.of(features.targets.pool, features.targets.values)
        of_source, of_target = _members(pool, sources), _members(features.targets.pool, targets)
        means = [np.stack([part[of].mean(0) for of in of_target]) for part in examples]
        to_target = [part @ mean.T for part, mean in zip(rows, means, strict=True)]
        similar = [np.stack([cosines[of].mean(0) for of in of_source]) for cosines in to_target]
        losses, target_losses = _losses(features.values, of_source), _losses(features.targets.values, of_target)
        target_perplexity = np.exp([target_losses[of].mean() for of in of_target])
        per_row = to_target[0] * to_target[1] * to_target[2] * np.exp(losses)[:, None] / target_perplexity
        mixed = (rows[0] + rows[1] + rows[2][:, :-1]) / 3
        content = digests(pool)  # k-means must not depend on how the pool is stored
        by_content = [of[np.argsort(content[of])] for of in of_source]
        return cls(
            sources,
            targets,
            *similar,
            np.exp([losses[of].mean() for of in of_source]),
            target_perplexity,
            np.array([diversity(mixed[of], clusters, silhouette_rows, seed) for of in by_content]),
            per_row.astype(np.float64),
        )


def diversity(vectors: np.ndarray, clusters: int, silhouette_rows: int, seed: int) -> float:
    """Mean silhouette of a k-means clustering plus the entropy of the clusters' shares over log K; at least 0.

    Fewer distinct vectors than clusters are clustered into as many as there are; a single one has no diversity (0).
    """
    distinct = len(np.unique(vectors, axis=0))
    k = min(clusters, distinct)
    if k < 2:
        return 0.0
    labels = KMeans(k, n_init=4, random_state=seed).fit_predict(vectors)
    counts = np.bincount(labels)
    share = counts[counts > 0] / len(labels)
    entropy = float(-(share * np.log(share)).sum() / np.log(clusters))
    if len(share) == len(labels):  # every row a cluster of its own: the silhouette is defined as 0
        return entropy
    size = min(len(vectors), silhouette_rows)
    try:
        silhouette = float(silhouette_score(vectors, labels, sample_size=size, random_state=seed))
    except ValueError:  # the rows drawn fell into one cluster
        silhouette = 0.0
    return max(0.0, silhouette + entropy)


def _losses(values: dict[Feature, np.ndarray], groups: list[np.ndarray]) -> np.ndarray:
    """Mean answer loss of each row; a row without answer token has its group's mean."""
    losses, _ = unanswered(values[LOSS])
    for group in groups:
        known = losses[group]
        if np.isnan(known).all():
            raise UserError("DataProphet needs answers, but a whole source has none; raise recipe.max_length.")
        losses[group] = np.where(np.isnan(known), np.nanmean(known), known)
    return losses


def _members(pool: Pool, names: list[str]) -> list[np.ndarray]:
    return [np.flatnonzero(pool.sources == name) for name in names]


def _units(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
