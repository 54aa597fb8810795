"""PreSel (arXiv 2503.07591): budgets by how much a task's questions matter, and images that are typical of others."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Feature, Features
from selectmm.features.pairs import TARGET
from selectmm.features.pictures import ImageEmbedding
from selectmm.features.states import ImageStates
from selectmm.features.unasked import UnaskedLoss
from selectmm.methods.clustering import Vectors, kmeans, nearest
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.images import Several, of_rows
from selectmm.methods.method import Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.methods.quotas import quotas
from selectmm.methods.ranges import Count, Positive
from selectmm.methods.source_warmup import SourceWarmUp
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool

DIGITS = 9  # cosines that agree in so many are the same


@dataclass(frozen=True)
class PreSel:
    """Score: the mean cosine of a row's image with its nearest neighbours in its cluster; the highest are kept.

    The model is tuned on a random share of every task (a source) with images, the reference rows, which are kept. On
    them the mean of loss(answers | image, questions) / loss(answers | image) is a task's IRS; the lower it is, the more
    the questions matter, and the larger the task's share: softmax(−IRS / temperature). A task's images are clustered,
    then its reference rows are left out, and each cluster gives in proportion to its size. Read from bardisafa/PreSel
    at 2dd6709 (MIT); no line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - They round shares down and hand the rest to the largest task, mend clusters that are too small in one pass, and
      fill what is missing at random. Here both are shared out by largest remainders until the budget is reached.
    - Rows that show the same image are equally typical, and their file's order decides; here what a row says.
    - Text-only rows are left out (``text_rows=drop``: taken when nothing else is left), or get their share of what the
      reference rows leave, drawn at random (``proportional``).
    - A budget below the number of reference rows takes as many of them at random.
    - Reference rows without an answer token do not count; a task without any other has the mean IRS of the tasks.

    Attributes:
        warmup: how the reference rows are drawn, and the tuning on them.
        temperature: of the softmax over tasks; None: 1 / √(number of tasks), the authors'.
        encoder: of images: ``target`` is the mean state of the image's tokens that enter the experiment's own decoder;
            theirs is ``facebook/dinov2-base``, see `ImageEmbedding`.
        rows_per_cluster: of a task, on average; a task with fewer rows is one cluster.
        iterations: of k-means, at most.
        neighbours: at most, of the same cluster.
        text_rows: see above.
        several: a row with several images is the ``mean`` over them, or the ``first``.
    """

    warmup: SourceWarmUp = field(default_factory=SourceWarmUp)
    temperature: Positive | None = None
    encoder: str = TARGET
    rows_per_cluster: Count = 100
    iterations: Count = 100
    neighbours: Count = 5
    text_rows: Literal["drop", "proportional"] = "drop"
    several: Several = "mean"

    def needs(self) -> Needs:
        """Vectors of the pool's images, and the answers' losses with and without questions of the reference rows."""
        losses = (AnswerLoss(), UnaskedLoss())
        return Needs((self._feature(),), warmup=self.warmup, reference=losses, images=True)

    def _feature(self) -> Feature:
        return ImageStates(0) if self.encoder == TARGET else ImageEmbedding(self.encoder)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The reference rows, and the most typical rows of every task."""
        keys, reference = random_keys(pool, rng), features.reference.rows
        if budget <= len(reference):
            return Subset(reference[ranked(keys[reference], budget, "low")], np.full(len(pool), np.nan))
        order = by_content(pool)
        free = order[~np.isin(order, reference)]
        shown = pool.image_of[free] >= 0
        seen, texts = free[shown], free[~shown]
        left = budget - len(reference)
        of_texts = self._texts(len(seen), len(texts), left)
        scores, kept = np.full(len(pool), np.nan), [reference, texts[ranked(keys[texts], of_texts, "low")]]
        if not len(seen):  # every row with an image is a reference row
            return Subset(np.concatenate(kept), scores)
        tasks = [seen[places] for places in groups_of(pool.source_of[seen]) if len(places)]
        weights = self._weights(pool, features, tasks)
        counts = quotas(weights, np.array([len(task) for task in tasks], np.int64), left - of_texts).tolist()
        for task, count in zip(tasks, counts, strict=True):
            of_task = reference[pool.source_of[reference] == pool.source_of[task[0]]]
            beside = order[np.isin(order, of_task) & (pool.image_of[order] >= 0)]
            scores[task], chosen = self._task(pool, features, task, beside, count, rng)
            kept.append(task[chosen])
        return Subset(np.concatenate(kept), scores)

    def _texts(self, seen: int, texts: int, left: int) -> int:
        """How many text-only rows are kept."""
        lacking = max(0, left - seen)
        share = round(left * texts / (seen + texts)) if self.text_rows == "proportional" else 0
        return min(texts, max(lacking, share))

    def _weights(self, pool: Pool, features: Features, tasks: list[np.ndarray]) -> np.ndarray:
        """Share of each task, [tasks], not scaled."""
        reference = features.reference
        asked, _ = unanswered(reference[AnswerLoss()])
        unasked, _ = unanswered(reference[UnaskedLoss()])
        ratio = np.divide(asked, unasked, out=np.full(len(asked), np.nan), where=unasked > 0)
        own = [ratio[pool.source_of[reference.rows] == pool.source_of[task[0]]] for task in tasks]
        means = np.array([np.nan if np.isnan(one).all() else np.nanmean(one) for one in own])
        means = np.where(np.isnan(means), 1.0 if np.isnan(means).all() else np.nanmean(means), means)
        cold = len(tasks) ** -0.5 if self.temperature is None else self.temperature
        return np.exp(np.round(means.min() - means, DIGITS) / cold)

    def _task(
        self,
        pool: Pool,
        features: Features,
        task: np.ndarray,
        beside: np.ndarray,
        count: int,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        """How typical each row of a task is, and the places in it of the ``count`` that are kept.

        Args:
            task: its rows. beside: its reference rows, which are clustered with them and then left out.
        """
        images, own = of_rows(features[self._feature()], pool, np.concatenate([task, beside]), self.several)
        vectors = Vectors(images, own, unit=True)
        k = max(1, len(own) // self.rows_per_cluster)
        labels = kmeans(vectors, k, rng, spherical=False, iterations=self.iterations).labels
        clusters = [places for places in groups_of(labels[: len(task)]) if len(places)]  # or of reference rows alone
        typical, chosen = np.empty(len(task)), []
        for places in clusters:
            _, away = nearest(Vectors(vectors.values, vectors.rows[places], unit=True), self.neighbours)
            typical[places] = np.round(1 - away.mean(1) / 2, DIGITS) if away.size else 1.0  # cosines of unit vectors
        sizes = np.array([len(places) for places in clusters])
        for places, number in zip(clusters, quotas(sizes.astype(float), sizes, count).tolist(), strict=True):
            chosen.append(places[ranked(typical[places], number, "high")])
        return typical, np.concatenate(chosen)
