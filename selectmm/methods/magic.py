"""MAGIC (arXiv 2605.26004): rows that need and regard their image, spread over what they excite in the model."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import iqr, median_abs_deviation

from selectmm.features.answers import AnswerLoss
from selectmm.features.blind import BlindLoss, Removal
from selectmm.features.feature import Features
from selectmm.features.looking import AnswerLook
from selectmm.features.neurons import Activation, TopNeurons
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.method import Needs
from selectmm.methods.order import ranked
from selectmm.methods.ranges import AtLeastOne, Positive, Share, ShareOrNone
from selectmm.methods.subset import Subset, unanswered
from selectmm.pool.pool import Pool

LOOK = AnswerLook()
DIGITS = 9  # values that agree in so many are the same

Spread = Literal["iqr", "mad"]


@dataclass(frozen=True)
class Magic:
    """Three filters, one after the other: rows whose answer needs the image (g, the answer's loss without it minus with
    it); of those, rows that also look at it (q, half of g and half of `AnswerLook`, each scaled); and of those, so many
    of each group of rows with the same most active neurons (`TopNeurons`).

    From the paper's text alone; no code is released. With M the budget: the ``gain_share`` of all rows with the highest
    g stay; of these the ``shortlist`` · M with the highest q; a bucket of these with the same signature gets the share
    Σ exp(q / temperature) of M, rounded down, and at most ``bucket_cap`` · M; what rounding leaves goes to the buckets
    with the largest remainders that have room. Inside a bucket the highest q are kept. If rows are lacking, the
    shortlist is taken by q, then the first filter's rows by q, then all others by g.

    What the paper leaves open, and what is done here:
    - Its "robust normalisation" of both parts of q: (x − median) / spread, cut at ±``cut``. The ``spread`` is the
      interquartile range (``iqr``) or 1.4826 × the median absolute deviation (``mad``); median and spread are those of
      the rows of the first filter or of the whole pool (``scale_over``).
    - What an "FFN neuron's activation" is, before or after the gate: ``activation``.
    - Which model has the layers 8, 12, 16 and 20: it names TinyLLaVA-2B in one place and LLaVA-1.5 before its second
      stage in another. Here they are of a model of ``depth`` layers, and in others the layers at the same share of it.
    - Text-only rows: both parts are 0. A row without an answer token is taken when nothing else is left.

    Several images in a row: the loss without image takes all of them away, and a look is one at any of them.

    Attributes:
        gain_share: of the pool's rows, that the first filter leaves.
        shortlist: rows that the second filter leaves, per row of the budget.
        look: weight of `AnswerLook` in q, from 0 to 1; g has the rest.
        temperature: of the buckets' shares.
        bucket_cap: the largest share of the budget that a bucket may get.
        layers, top, depth, activation: see `TopNeurons`.
        spread, scale_over: see above. cut: the largest scaled value; None: no limit.
        removal: how the image is taken away, see `BlindLoss`.
    """

    gain_share: Share = 0.6
    shortlist: AtLeastOne = 2.0
    look: ShareOrNone = 0.5
    temperature: Positive = 0.2
    bucket_cap: Share = 0.05
    layers: Sequence[int] = (8, 12, 16, 20)
    top: Sequence[int] = (1, 1, 2, 3)
    depth: int | None = 32
    activation: Activation = "gated"
    spread: Spread = "iqr"
    cut: Positive | None = 3.0
    scale_over: Literal["kept", "pool"] = "kept"
    removal: Removal = "drop"

    def needs(self) -> Needs:
        """Losses with and without the image, attention to it, and the most active neurons."""
        return Needs((AnswerLoss(), BlindLoss(self.removal), LOOK, self._signature()), images=True)

    def _signature(self) -> TopNeurons:
        return TopNeurons(tuple(self.layers), tuple(self.top), self.depth, self.activation)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows that the three filters leave."""
        order = by_content(pool)
        sighted, excluded = unanswered(features[AnswerLoss()])
        blind, _ = unanswered(features[BlindLoss(self.removal)])
        gain = np.where((pool.image_of < 0) & ~np.isnan(sighted), 0.0, np.round(blind - sighted, DIGITS))[order]
        first = ranked(gain, math.ceil(self.gain_share * len(pool)), "high")
        first = first[~np.isnan(gain[first])]
        score = np.full(len(pool), np.nan)
        if len(first):
            score[first] = self._score(gain, np.asarray(features[LOOK], np.float64)[order], first)
        short = first[ranked(score[first], math.ceil(self.shortlist * budget), "high")]
        signatures = np.asarray(features[self._signature()])[order[short]]
        kept = short[self._spread(score[short], signatures, budget)] if len(short) else short
        rest = np.concatenate([short, first[ranked(score[first], len(first), "high")], ranked(gain, len(gain), "high")])
        every = np.concatenate([kept, rest])
        every = every[np.sort(np.unique(every, return_index=True)[1])]
        by_row = np.empty(len(pool))
        by_row[order] = score
        return Subset(order[every[:budget]], by_row, excluded)

    def _score(self, gain: np.ndarray, look: np.ndarray, first: np.ndarray) -> np.ndarray:
        """q of the rows that the first filter leaves."""
        over = first if self.scale_over == "kept" else np.flatnonzero(~np.isnan(gain))
        parts = [scaled(values[first], values[over], self.spread, self.cut) for values in (gain, look)]
        return np.round((1 - self.look) * parts[0] + self.look * parts[1], DIGITS)

    def _spread(self, score: np.ndarray, signatures: np.ndarray, budget: int) -> np.ndarray:
        """Places in the shortlist of the rows that its buckets give."""
        labels = np.unique(signatures, axis=0, return_inverse=True)[1].reshape(-1)
        buckets = groups_of(labels)
        weight = np.array([np.exp((score[bucket] - score.max()) / self.temperature).sum() for bucket in buckets])
        sizes = np.array([len(bucket) for bucket in buckets])
        room = np.minimum(sizes, math.ceil(self.bucket_cap * budget))
        counts = shared(weight, room, budget)
        chosen = [b[ranked(score[b], n, "high")] for b, n in zip(buckets, counts.tolist(), strict=True)]
        return np.concatenate(chosen)


def scaled(values: np.ndarray, over: np.ndarray, spread: Spread, cut: float | None) -> np.ndarray:
    """(values − median) / spread of ``over``, cut at ±``cut``; a spread of 0 counts as 1."""
    width = iqr(over) if spread == "iqr" else median_abs_deviation(over, scale="normal")
    score = (values - np.median(over)) / (width or 1.0)
    return score if cut is None else np.clip(score, -cut, cut)


def shared(weights: np.ndarray, room: np.ndarray, total: int) -> np.ndarray:
    """``total`` by ``weights``, rounded down and cut at ``room``, then one more for the largest remainders with room.

    [groups] of int64 that sum to at most ``total``: what the room cuts off is not shared out again.
    """
    exact = weights / weights.sum() * total
    whole = np.floor(np.round(exact, DIGITS)).astype(np.int64)
    given = np.minimum(whole, room)
    remainder = np.where(given < room, np.round(exact - whole, DIGITS), -np.inf)
    more = np.argsort(-remainder, kind="stable")[: min(total - int(whole.sum()), int((given < room).sum()))]
    given[more] += 1
    return given
