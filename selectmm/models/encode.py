"""Conversations to tensors: render the template, let the processor expand images, mark the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image

from selectmm.models.vlm import VLM, Template
from selectmm.pool.sample import Turn

IGNORED = -100  # the label that cross-entropy skips

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Conversation:
    """Turns and their images (RGB). The last turn is the assistant's for training, the user's for generation."""

    turns: tuple[Turn, ...]
    images: tuple[Image.Image, ...] = ()


def render(template: Template, turns: Sequence[Turn], images: int) -> tuple[str, list[tuple[int, int]]]:
    """The text of a conversation with ``images`` placeholders, and the answers as (start, end) **from the text's end**.

    Counted from the end because the processor later replaces a placeholder by many image tokens, which stand before
    every answer: distances from the end do not change. An answer's span holds its end token, and the space that ends
    the assistant's prefix: many vocabularies join it with the first word ("▁Yes"), and LLaVA's preprocess_v1 takes the
    loss on it too. If the last turn is the user's, the text ends where an answer's span would begin.
    """
    text, answers = template.start, []
    placeholders = template.image * images
    assistant = template.assistant_prefix.rstrip(" ")
    space = template.assistant_prefix[len(assistant) :]
    for turn in turns:
        if turn.role == "user":
            text += template.user_prefix + placeholders + turn.text + template.user_suffix
            placeholders = ""
        else:
            text += assistant
            start = len(text)
            text += space + turn.text + template.assistant_suffix
            answers.append((start, len(text)))
    if turns[-1].role == "user":
        text += assistant
    return text, [(start - len(text), end - len(text)) for start, end in answers]


def encode(
    vlm: VLM, conversations: Sequence[Conversation], *, side: Literal["left", "right"], limit: int | None
) -> Batch:
    """Tensors of a batch: the processor's own outputs plus ``labels`` [n, tokens] (`IGNORED` outside the answers).

    Rows are padded on ``side`` and cut to their first ``limit`` tokens (None: not cut), see `cut`.
    Nothing is shuffled: row i of every [n, …] tensor is conversation i.
    """
    rendered = [render(vlm.family.template, c.turns, len(c.images)) for c in conversations]
    images = [_prepare(vlm, image) for c in conversations for image in c.images]
    tokenizer = vlm.processor.tokenizer
    tokenizer.padding_side = side
    encoded = vlm.processor(
        text=[text for text, _ in rendered],
        images=images or None,
        padding=True,
        return_tensors="pt",
        return_offsets_mapping=True,
        add_special_tokens=False,
    )
    offsets = encoded.pop("offset_mapping")
    encoded["labels"] = _labels(encoded["input_ids"], offsets, encoded["attention_mask"], [a for _, a in rendered])
    batch = dict(encoded)
    if limit is None or batch["input_ids"].shape[1] <= limit:
        return batch
    if side == "left":
        raise ValueError(f"a prompt of {batch['input_ids'].shape[1]} tokens exceeds the window of {limit}")
    return cut(batch, limit, vlm.image_token_id)


def _labels(
    ids: torch.Tensor, offsets: torch.Tensor, attention: torch.Tensor, answers: Sequence[list[tuple[int, int]]]
) -> torch.Tensor:
    """A token is an answer token if it overlaps an answer's span (spans are counted from the text's end)."""
    labels = torch.full_like(ids, IGNORED)
    for row, spans in enumerate(answers):
        real = attention[row].bool()
        length = int(offsets[row][real].max())
        begins, ends = offsets[row].unbind(-1)
        for start, end in spans:
            inside = real & (ends > length + start) & (begins < length + end)
            labels[row, inside] = ids[row, inside]
    return labels


def cut(batch: Batch, limit: int, image_token_id: int) -> Batch:
    """Keep the first ``limit`` tokens of each row of a batch that was padded on the right.

    Raises:
        ValueError: it would cut an image.
    """
    shape = batch["input_ids"].shape  # pixel tensors and grids have other shapes and stay whole
    if (batch["input_ids"][:, limit:] == image_token_id).any():
        raise ValueError(f"an image does not fit in {limit} tokens")
    return {k: v[:, :limit] if v.shape == shape else v for k, v in batch.items()}


def _prepare(vlm: VLM, image: Image.Image) -> Image.Image:
    return pad_to_square(image, vlm.processor.image_processor.image_mean) if vlm.family.square else image


def pad_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Centre the image on a square of the mean colour (channels in 0..1), as LLaVA's ``expand2square`` does."""
    width, height = image.size
    if width == height:
        return image
    side = max(width, height)
    square = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in np.asarray(mean)))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square
