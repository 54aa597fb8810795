"""DataTailor (arXiv 2412.06293): rows that hold much, unlike their neighbours, and speak for their task."""

from dataclasses import dataclass

import numpy as np
import torch
from pyarrow.compute import equal, list_parent_indices, struct_field
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.stats import rankdata

from selectmm.features.feature import Features
from selectmm.features.spectrum import LastState, StateSpectrum
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.quotas import quotas
from selectmm.methods.ranges import Count, NotNegative
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

SPECTRUM, STATE = StateSpectrum(), LastState()
DIGITS = 9  # values that agree in so many, as shares of the largest, are the same


@dataclass(frozen=True)
class DataTailor:
    """Score: (R · rank of Inf + rank of Uni + rank of Rep) / (R + 2), R a row's number of questions; ranks are shares
    of the row's task, and the highest of each task are kept. A task is a source.

    Inf is the entropy of the singular values of a row's states (`StateSpectrum`). Rows of a task are clustered by
    Ward's method on their last token's state, cut at a share of the last merge. Uni of a row is Σ_j d_ij · Inf_j over
    its cluster, d the distance, divided by the cluster's Σ_ij d_ij / size; Rep is the mean over the task's other
    clusters of exp(cosine of the centroids), times Inf. A task's budget is in proportion to its size times the square
    of the mean highest share of singular values. Read from Yuqifan1117/DataTailor at a23a9d3, which has no licence; no
    line is theirs.

    Where the authors' code leaves something open, or bends, this is what is done here:
    - Their states are recorded while the model trains on the pool for an epoch, so that early and late rows are
      measured by different models; here one model, as it is, measures all.
    - Their tasks are twelve ranges of positions in LLaVA-665K's file.
    - A budget above a task's size goes to the others; theirs is not capped.
    - Of a row alone in its cluster theirs divides 0 by 0, and sorting puts the result last, so it has the highest rank
      of Uni; so it has here. Rows of a cluster that are all the same have Uni 0 (theirs: as a row alone), and in a task
      of one cluster all rows have the same rank of Rep (theirs divides by 0).
    - Ward's method needs memory with the square of the rows: a task with more than ``ward_rows`` is first clustered to
      at most so many means, which are then merged.
    - Rows with equal values share the mean of their ranks.

    Several images in a row: spectrum and states are of the whole row.

    Attributes:
        cut: share of the height of a task's last merge at which its clusters are cut.
        ward_rows: the most rows, or means of rows, that Ward's method merges; 8,000 take 0.3 GB.
        iterations: of k-means in tasks above it, at most.
    """

    cut: NotNegative = 0.1
    ward_rows: Count = 8000
    iterations: Count = 20

    def needs(self) -> Needs:
        """Spectra and last states of every row; sources are its tasks."""
        return Needs((SPECTRUM, STATE), sources=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """Every task's share of the budget, its rows by their value."""
        order = by_content(pool)
        names = pool.source_of
        tasks = [order[places] for places in groups_of(names[order])]
        spectra = np.asarray(features[SPECTRUM], np.float64)
        asked = _questions(pool)
        scores = np.empty(len(pool))
        for task in tasks:
            states = Vectors(features[STATE], task)
            scores[task] = self._values(states, spectra[task, 0], asked[task], rng)
        sizes = np.array([len(task) for task in tasks])
        weights = np.array([len(task) * spectra[task, 1].mean() ** 2 for task in tasks])
        counts = quotas(weights, sizes, budget).tolist()
        kept = [task[ranked(scores[task], count, "high")] for task, count in zip(tasks, counts, strict=True)]
        return Subset(np.concatenate(kept), scores)

    def _values(
        self, states: Vectors, informative: np.ndarray, asked: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """Of the rows of one task, [rows]."""
        clusters = groups_of(self._clusters(states, rng))
        unique, centres = np.zeros(len(states)), []
        for members in clusters:
            own = Vectors(states.values, states.rows[members])
            unique[members] = uniqueness(own, informative[members])
            centres.append(sum(block.sum(0) for _, block in own.blocks()).cpu().numpy() / len(members))
        speaks = np.empty(len(states))
        for members, value in zip(clusters, representativeness(np.array(centres)).tolist(), strict=True):
            speaks[members] = value * informative[members]
        ranks = [_ranks(values) for values in (informative, unique, speaks)]
        return (asked * ranks[0] + ranks[1] + ranks[2]) / (asked + 2)

    def _clusters(self, states: Vectors, rng: np.random.Generator) -> np.ndarray:
        """The cluster of each row of a task, [rows] of int64 from 0."""
        if len(states) <= self.ward_rows:
            return _ward(states.take(slice(None)).cpu().numpy(), self.cut)
        found = kmeans(states, self.ward_rows, rng, spherical=False, iterations=self.iterations)
        return _ward(found.centres, self.cut)[found.labels]


def _questions(pool: Pool) -> np.ndarray:
    """How many turns of each row the user speaks, [n] of int64: system prompts, tools and their results ask nothing."""
    found = [np.empty(0, np.int64)]
    for chunk in pool.table["turns"].chunks:  # one by one: joined, they may hold more text than an array can
        rows = list_parent_indices(chunk).filter(equal(struct_field(chunk.flatten(), "role"), "user"))
        found.append(np.bincount(rows.to_numpy(), minlength=len(chunk)))
    return np.concatenate(found)


def _ward(vectors: np.ndarray, cut: float) -> np.ndarray:
    """Ward clusters below ``cut`` times the height of the last merge; [n] of int64 from 0."""
    if len(vectors) < 2:
        return np.zeros(len(vectors), np.int64)
    merges = linkage(vectors, "ward")
    return fcluster(merges, cut * merges[-1, 2], "distance").astype(np.int64) - 1


def uniqueness(vectors: Vectors, informative: np.ndarray) -> np.ndarray:
    """Σ_j d_ij · Inf_j ÷ (Σ_ij d_ij / n) of the rows of a cluster, [n]; 0 where all are at one place, ∞ of one row."""
    if len(vectors) == 1:
        return np.full(1, np.inf)
    sums, total = np.empty(len(vectors)), 0.0
    for some, block in vectors.blocks(beside=4096):
        own = torch.zeros(len(block), dtype=torch.float64, device=block.device)
        for others, across in vectors.blocks(beside=4096):
            away = torch.cdist(block, across, compute_mode="donot_use_mm_for_euclid_dist")
            own += away @ torch.from_numpy(informative[others]).to(block.device)
            total += float(away.sum())
        sums[some] = own.cpu().numpy()
    return sums / (total / len(vectors)) if total else np.zeros(len(vectors))


def representativeness(centres: np.ndarray) -> np.ndarray:
    """Mean over the other clusters of exp(cosine of the centres), [clusters]; 0 of a single one."""
    if len(centres) == 1:
        return np.zeros(1)
    lengths = np.linalg.norm(centres, axis=1, keepdims=True)
    unit = np.divide(centres, lengths, out=np.zeros_like(centres), where=lengths > 0)
    alike = np.exp(unit @ unit.T)
    return (alike.sum(1) - alike.diagonal()) / (len(centres) - 1)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from low to high as shares of their number, equal ones the mean of theirs; [n]."""
    largest = np.abs(values[np.isfinite(values)]).max(initial=1e-300)
    return rankdata(np.round(values / largest, DIGITS)) / len(values)
