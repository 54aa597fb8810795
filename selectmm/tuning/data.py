"""Rows of the plan as micro-batches of tensors, and what was cut on the way."""

from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from selectmm.errors import UserError
from selectmm.models.encode import IGNORED, ROOM, Batch, Conversation, ImageCut, cut, encode
from selectmm.models.inputs import placed
from selectmm.models.pack import pack
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.tuning.work import load_of

BLANK = Conversation((Turn("user", ""),), (Image.new("RGB", (56, 56)),))


class MicroBatch(NamedTuple):
    """Tensors, and `COUNTS` over their rows.

    ``weights`` are what the rows' losses are multiplied by, one for each row, None where all are alike; ``load`` are
    the fields of their `Load`. Both are plain numbers, because Lightning rounds floating tensors (in dataclasses, too)
    to the dtype of the training.
    """

    inputs: Batch
    counts: tuple[int, ...]
    weights: tuple[float, ...] | None
    load: tuple[float, ...]


COUNTS = ("rows", "tokens", "answer_tokens", "rows_cut", "rows_without_answer")


@dataclass(frozen=True)
class MicroBatches(Dataset[MicroBatch]):
    """One rank's share of the plan; item i is the same whatever was read before, by whichever loader process.

    Attributes:
        rows: positions in the pool, [micro-batches, rows of one].
        blank: add a row with a blank image and no answer to a micro-batch without images. It changes no loss, but the
            vision tower and the projector then take part in every pass on every rank, which ZeRO-3 needs (ranks gather
            weights together) and which gives the projector the same optimiser steps under every strategy. LLaVA's own
            training does it too, with a blank image for every text-only row.
        packing: one sequence per micro-batch, see `selectmm.models.pack.pack`.
        weights: what the loss of each of ``rows`` is multiplied by, of their shape; None: all alike.
    """

    vlm: VLM
    pool: Pool
    rows: np.ndarray
    max_length: int
    blank: bool
    packing: bool
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> MicroBatch:
        samples = [self.pool[int(row)] for row in self.rows[index]]
        talks = [
            Conversation(
                s.turns,
                tuple(self.pool.open_shown(image) for image in s.images),
                name=self.pool.named(s.position),
                shown=s.images,
            )
            for s in samples
        ]
        extra = [BLANK] if self.blank and not any(talk.images for talk in talks) else []
        whole = encode(self.vlm, talks + extra, side="right", limit=None)
        lengths = whole["attention_mask"].sum(1)[: len(talks)]
        try:
            inputs = cut(whole, self.max_length, self.vlm)
        except ImageCut as problem:
            name = self.pool.named(int(self.rows[index][problem.rows[0]]))
            raise UserError(f"In {name}, {problem}; {ROOM}.") from problem
        answers = (inputs["labels"][: len(talks), 1:] != IGNORED).sum(1)
        counts = (
            len(talks),
            lengths.clamp(max=self.max_length).sum(),
            answers.sum(),
            (lengths > self.max_length).sum(),
            (answers == 0).sum(),
        )
        inputs = pack(self.vlm, inputs) if self.packing else placed(self.vlm.model.model, inputs)
        weights = None if self.weights is None else tuple(self.weights[index].tolist())
        load = astuple(load_of(self.vlm, inputs))
        return MicroBatch(inputs, tuple(int(count) for count in counts), weights, load)
