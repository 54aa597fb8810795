"""What is read of some rows before the model sees them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.vlm import VLM


class Loaded(NamedTuple):
    """Of n rows (or images).

    Attributes:
        units: positions in the pool, or in its images.
        lengths: tokens of each before it is cut, [n] of int64.
        tensors: as `selectmm.models.encode.encode` makes them, padded on the right and not cut; None if no feature of
            the pass reads any.
        conversations: turns and opened images; None if no feature of the pass reads them as they are.
    """

    units: list[int]
    lengths: torch.Tensor
    tensors: Batch | None
    conversations: Sequence[Conversation] | None


def encoded(vlm: VLM, units: list[int], conversations: Sequence[Conversation], pictures: bool) -> Loaded:
    """Rows as tensors, and as they are if ``pictures`` are wanted."""
    tensors = encode(vlm, conversations, side="right", limit=None)
    return Loaded(units, tensors["attention_mask"].sum(1), tensors, conversations if pictures else None)


def counted(vlm: VLM, units: list[int], conversations: Sequence[Conversation]) -> Loaded:
    """Rows as they are, and their lengths."""
    outlines = [
        Outline(one.turns, tuple(image.size for image in one.images), shown=one.places) for one in conversations
    ]
    return Loaded(units, token_counts(vlm, outlines), None, conversations)
