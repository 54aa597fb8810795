"""One pass over a pool: its shards, and how one process computes some of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import pairwise
from operator import or_
from pathlib import Path

import numpy as np
import torch

from selectmm.errors import UserError
from selectmm.features.feature import Feature, Seen, View, units_of
from selectmm.features.shards import covered, save_missing
from selectmm.models.encode import Conversation, ImageCut
from selectmm.models.forward import Reads
from selectmm.models.memory import enough_memory
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Sample, Turn

SORTED = 16  # batches whose rows are sorted by length together
_NOTHING = (Turn("user", ""),)


@dataclass(frozen=True)
class Sizes:
    """How a pass is cut up.

    Attributes:
        batch_size: units per forward pass. shard: units per file written; a killed pass continues at the next shard.
        limit: tokens per row (the recipe's ``max_length``).
    """

    batch_size: int
    shard: int
    limit: int


@dataclass(frozen=True)
class Pass:
    """Features that are computed together, each with the folder that its values go to.

    Values follow from the pool, the model and the sizes, not from who computes which shard.
    """

    pool: Pool
    view: View
    wanted: Mapping[Feature, Path]
    sizes: Sizes

    @property
    def name(self) -> str:
        """For the progress bar."""
        return "features: " + " + ".join(type(feature).__name__ for feature in self.wanted)

    def open_shards(self) -> list[range]:
        """The shards (ranges of rows, or of images where that is the view) that are not done for every feature."""
        units = len(self.pool.images) if self.view == "image" else len(self.pool)
        there = self._there()
        return [
            shard
            for start in range(0, units, self.sizes.shard)
            for shard in [range(start, min(start + self.sizes.shard, units))]
            if any(not there[feature][_slice(self._target(feature, shard))].all() for feature in self.wanted)
        ]

    def compute(self, vlm: VLM, shards: Iterable[range]) -> Iterator[range]:
        """Compute and write shards; yields each once it is written.

        Raises:
            UserError: a value is NaN or infinite, an image does not fit into the limit, or memory ran out.
        """
        there = self._there()
        for shard in shards:
            values = self._values(vlm, shard)
            for feature, folder in self.wanted.items():
                target, made = self._target(feature, shard), values[feature]
                if target != shard:  # of an image's rows the first one speaks for it
                    made = made[self._first[target.start : target.stop] - shard.start]
                save_missing(folder, target, made, feature, there[feature])
            yield shard

    def _there(self) -> dict[Feature, np.ndarray]:
        return {feature: covered(folder, units_of(self.pool, feature)) for feature, folder in self.wanted.items()}

    @cached_property
    def _first(self) -> np.ndarray:
        """The first row that shows each unique image, ascending: images are numbered by first use; [images]."""
        shown = np.flatnonzero(self.pool.image_of >= 0)
        return shown[np.unique(self.pool.image_of[shown], return_index=True)[1]]

    def _target(self, feature: Feature, shard: range) -> range:
        """The units of a feature that a shard of this pass yields."""
        if feature.view != "image" or self.view == "image":
            return shard
        return range(*np.searchsorted(self._first, [shard.start, shard.stop]).tolist())

    @torch.no_grad()
    def _values(self, vlm: VLM, units: range) -> dict[Feature, np.ndarray]:
        reads = reduce(or_, (feature.reads() for feature in self.wanted), Reads())
        parts: dict[Feature, list[np.ndarray]] = {feature: [] for feature in self.wanted}
        order = batches_of(self.pool, self.view, units, self.sizes.batch_size)
        for some in order:
            seen = Seen(vlm, list(conversations_of(self.pool, self.view, some)), reads, self.sizes.limit)
            with (
                enough_memory(f"features of {len(some)} rows were computed at a time", "lower batch_size"),
                _naming(seen.conversations),
            ):
                for feature in self.wanted:
                    parts[feature].append(feature.compute(seen).cpu().numpy())
        back = np.argsort(np.concatenate(order))
        return {feature: np.concatenate(values)[back] for feature, values in parts.items()}


def batches_of(pool: Pool, view: View, units: range, batch_size: int) -> list[list[int]]:
    """The batches of a shard, each of `batch_size` units at most.

    Rows are sorted by length inside blocks of `SORTED` batches, counted from the pool's first row: as long as a shard
    is of whole blocks, batches do not depend on how many.
    """
    block = SORTED * batch_size
    edges = [units.start, *range((units.start // block + 1) * block, units.stop, block), units.stop]
    ordered = [_by_length(pool, view, range(start, stop)) for start, stop in pairwise(edges)]
    return [some[at : at + batch_size].tolist() for some in ordered for at in range(0, len(some), batch_size)]


def conversations_of(pool: Pool, view: str, units: Iterable[int]) -> Iterator[Conversation]:
    """Rows (or images) of a pool as a view shows them; for images, the shortest conversation that shows one."""
    if view == "image":
        for image in units:
            yield Conversation(_NOTHING, (pool.open_image(pool.images[image]),), name=f"image {pool.images[image]}")
        return
    for row in units:
        sample = pool[row]
        yield replace(_answers_alone(sample) if view == "answer" else _whole(pool, sample), name=pool.named(row))


def _by_length(pool: Pool, view: View, units: range) -> np.ndarray:
    """Units from short to long, so that little of a batch is padding; [units] of int64.

    In characters, after rows without image and before rows with one: an image's tokens are unknown, and often more than
    all words.
    """
    if view == "image":
        return np.arange(units.start, units.stop)
    samples = [pool[row] for row in units]
    image = [sample.image is not None and view == "conversation" for sample in samples]
    said = [[len(t.text) for t in (_answers(s) if view == "answer" else s.turns)] for s in samples]
    return units.start + np.lexsort(([sum(lengths) for lengths in said], image))


def _whole(pool: Pool, sample: Sample) -> Conversation:
    return Conversation(sample.turns, (pool.open_image(sample.image),) if sample.image else (), sample.image_turn)


def _answers_alone(sample: Sample) -> Conversation:
    return Conversation(_answers(sample))


def _answers(sample: Sample) -> tuple[Turn, ...]:
    """The answers that are trained on."""
    return tuple(turn for turn in sample.turns if turn.role == "assistant" and turn.trained)


@contextmanager
def _naming(conversations: Sequence[Conversation]) -> Iterator[None]:
    """An image that the limit cuts is told with the name of its conversation."""
    try:
        yield
    except UserError as problem:
        if not isinstance(problem.__cause__, ImageCut):
            raise
        name = conversations[problem.__cause__.rows[0]].name
        raise UserError(f"{problem} (It is that of {name}.)") from problem


def _slice(units: range) -> slice:
    return slice(units.start, units.stop)
