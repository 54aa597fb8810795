"""Rows of a pool on their way to the model: read, and encoded, by processes beside the one that computes."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader, Dataset

from selectmm.errors import sentences_of_loaders
from selectmm.features.feature import View
from selectmm.features.loaded import Loaded, counted, encoded
from selectmm.models.encode import Conversation
from selectmm.models.forward import Reads
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.together import lengths_of, parts_alike
from selectmm.models.vlm import VLM
from selectmm.pool.bad import excerpt
from selectmm.pool.pool import Pool
from selectmm.pool.sample import ANSWERS, Sample, Shown, Turn

MOST = 8  # loader processes of a rank: they read faster than a large model computes
_NOTHING = (Turn("user", ""),)


@dataclass(frozen=True)
class Reader(Dataset[list[Loaded]]):
    """Rows (or images) of a pool by lists of their positions.

    Attributes:
        view, reads: what the pass wants of them.
        limit: tokens per row that the model sees. tokens: the most in one forward pass, padding included.
    """

    vlm: VLM
    pool: Pool
    view: View
    reads: Reads
    limit: int
    tokens: int

    def __getitem__(self, units: list[int]) -> list[Loaded]:
        """The rows in parts of which none has more tokens than allowed, but for single rows; see `parts_alike`.

        Raises:
            UserError: an image is missing or broken.
        """
        if not (self.reads.tensors or self.reads.pictures):
            outlines = [_outline(self.pool, self.view, unit) for unit in units]
            return [Loaded(units, token_counts(self.vlm, outlines), None, None)]
        conversations = list(conversations_of(self.pool, self.view, units))
        if not self.reads.tensors:
            return [counted(self.vlm, units, conversations)]
        # Counted before anything is encoded: batches of images often have too many tokens, and pixels take longest.
        together = parts_alike(lengths_of(self.vlm, conversations).clamp(max=self.limit), self.tokens)
        return [
            encoded(self.vlm, [units[row] for row in some], [conversations[row] for row in some], self.reads.pictures)
            for some in together
        ]

    def halves(self, units: list[int]) -> list[Loaded]:
        """As `__getitem__`, half of the rows at a time; there are two at least."""
        middle = len(units) // 2
        return [*self[units[:middle]], *self[units[middle:]]]


def conversations_of(pool: Pool, view: View, units: Iterable[int]) -> Iterator[Conversation]:
    """Rows (or images) of a pool as a view shows them; for images, the shortest conversation that shows one."""
    for unit in units:
        turns, shown = _seen(pool, view, unit)
        images = tuple(pool.open_shown(image) for image in shown)
        yield Conversation(turns, images, name=name_of(pool, view, unit), shown=shown)


def name_of(pool: Pool, view: View, unit: int) -> str:
    """A row (or an image) in words that its owner can look up."""
    return f"image {excerpt(pool.images[unit])}" if view == "image" else pool.named(unit)


def answers_of(sample: Sample) -> tuple[Turn, ...]:
    """The answers that are trained on, calls of tools among them."""
    return tuple(turn for turn in sample.turns if turn.role in ANSWERS and turn.trained)


def _seen(pool: Pool, view: View, unit: int) -> tuple[tuple[Turn, ...], tuple[Shown, ...]]:
    """Turns and images as a view shows a row (or an image)."""
    if view == "image":
        return _NOTHING, (Shown(pool.images[unit], video=bool(pool.clips[unit])),)
    sample = pool[unit]
    if view == "answer":
        return answers_of(sample), ()
    return sample.turns, sample.images


def _outline(pool: Pool, view: View, unit: int) -> Outline:
    turns, shown = _seen(pool, view, unit)
    sizes = tuple(pool.open_clip(one.path) if one.video else pool.image_size(one.path) for one in shown)
    return Outline(turns, sizes, name=name_of(pool, view, unit), shown=shown)


def read(reader: Reader, batches: Iterable[list[int]], loaders: int) -> Iterator[list[Loaded]]:
    """Yield what `Reader` makes of each of ``batches``, in their order, read ahead by ``loaders`` processes (0: none).

    Raises:
        UserError: see `Reader.__getitem__`.
    """
    stream = DataLoader(
        reader,
        batch_size=None,
        sampler=batches,
        num_workers=loaders,
        collate_fn=_as_it_is,
        pin_memory=reader.vlm.model.device.type == "cuda",
    )
    with sentences_of_loaders():
        yield from stream


def loaders_for(device: torch.device, ranks: int) -> int:
    """How many processes read for each of ``ranks`` on this machine.

    Beside a GPU all cores but one read. On a CPU the cores compute, and reading takes a quarter of them: none of two.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mine = cores // ranks
    return min(MOST, mine // 4) if device.type == "cpu" else max(1, min(MOST, mine - 1))


def _as_it_is(loaded: list[Loaded]) -> list[Loaded]:
    return loaded
