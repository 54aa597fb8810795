"""Conversations to tensors: render the template, let the processor expand images, mark the answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image

from selectmm.errors import UserError
from selectmm.models.render import Span, render
from selectmm.models.video import as_images, videos_of
from selectmm.models.vlm import VLM
from selectmm.pool.bad import excerpt
from selectmm.pool.clip import Clip
from selectmm.pool.sample import Shown, Turn

IGNORED = -100  # the label that cross-entropy skips

# How to make room for an image: what follows "an image does not fit", in a sentence for users.
ROOM = (
    "raise recipe.max_length, or show images smaller (Qwen: model.max_pixels; InternVL, LLaVA-OneVision: model.tiles)"
)

LARGEST_SQUARE = 32_768  # pixels of a side; LLaVA's square around a longer image would take more than 3 GiB

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Conversation:
    """Turns and their images (RGB) and clips.

    The last turn is the assistant's for training, the user's for generation.

    Attributes:
        image_turn: the turn that the images open, all of them, unless ``shown`` says more.
        name: what errors call it, such as `Pool.named` of its row.
        shown: where each image stands, in the order of the text.
    """

    turns: tuple[Turn, ...]
    images: tuple[Image.Image | Clip, ...] = ()
    image_turn: int = 0
    name: str = ""
    shown: tuple[Shown, ...] = ()

    @property
    def places(self) -> tuple[Shown, ...]:
        """Where each image stands."""
        return self.shown or tuple(Shown("", self.image_turn, video=isinstance(one, Clip)) for one in self.images)

    def pictures(self) -> list[Image.Image]:
        """Its images, and the middle frames of its clips, for encoders that know no clips.

        Raises:
            UserError: a clip cannot be decoded.
        """
        return [one.picture() if isinstance(one, Clip) else one for one in self.images]


class ImageCut(ValueError):
    """An image stands partly or wholly behind the limit; ``rows`` are those of the batch, ascending."""

    def __init__(self, limit: int, rows: list[int]) -> None:
        super().__init__(f"an image does not fit in {limit} tokens")
        self.rows = rows


def encode(
    vlm: VLM, conversations: Sequence[Conversation], *, side: Literal["left", "right"], limit: int | None
) -> Batch:
    """Tensors of a batch: the processor's own outputs, ``labels`` [n, tokens] (`IGNORED` outside the answers) and
    ``instruction`` [n, tokens] of bool (the user's words).

    Rows are padded on ``side`` and cut to their first ``limit`` tokens (None: not cut), see `cut`.
    Nothing is shuffled: row i of every [n, …] tensor is conversation i.

    Raises:
        UserError: the processor does not take one of the conversations, which is named.
        ImageCut: see `cut`.
    """
    rendered = [render(vlm.family.template, c.turns, c.places) for c in conversations]
    try:
        encoded, grown = _processed(vlm, [text for text, _, _ in rendered], conversations, side)
    except Exception as problem:
        _name_the_cause(vlm, [text for text, _, _ in rendered], conversations, side)
        raise problem  # each alone is taken, so it is no conversation's fault
    offsets = encoded.pop("offset_mapping")
    real = encoded["attention_mask"].bool()
    rendered = [
        (text, _moved(answers, images), _moved(words, images))
        for (text, answers, words), images in zip(rendered, grown, strict=True)
    ]
    answered = _inside(offsets, real, [answers for _, answers, _ in rendered])
    encoded["labels"] = encoded["input_ids"].masked_fill(~answered, IGNORED)
    encoded["instruction"] = _inside(offsets, real, [words for _, _, words in rendered])
    batch = dict(encoded)
    if limit is None or batch["input_ids"].shape[1] <= limit:
        return batch
    if side == "left":
        raise ValueError(f"a prompt of {batch['input_ids'].shape[1]} tokens exceeds the window of {limit}")
    return cut(batch, limit, vlm)


def _processed(
    vlm: VLM, texts: Sequence[str], conversations: Sequence[Conversation], side: Literal["left", "right"]
) -> tuple[dict[str, torch.Tensor], list[list[dict[str, Span]]]]:
    """The processor's outputs, and for each text the placeholders that it has replaced (`_moved`)."""
    shown = [one for c in conversations for one in c.images]
    # Row by row: LLaVA-OneVision's processor looks at how many images a row shows.
    rows = [[prepare(vlm, image) for one in c.images for image in as_images(vlm, one)] for c in conversations]
    images = [row for row in rows if row]
    made = vlm.processor(
        text=list(texts),
        images=images or None,
        padding=True,
        padding_side=side,  # said in the call, where it is stronger than a processor's own default (InternVL's is left)
        return_offsets_mapping=True,
        return_text_replacement_offsets=True,
        add_special_tokens=False,
        **videos_of(vlm, [one for one in shown if isinstance(one, Clip)]),
    )
    made.pop("video_metadata", None)
    grown = made.pop("text_replacement_offsets")  # which InternVL's would try to make tensors of
    return made.convert_to_tensors("pt"), grown


def _name_the_cause(
    vlm: VLM, texts: Sequence[str], conversations: Sequence[Conversation], side: Literal["left", "right"]
) -> None:
    """Give a batch that the processor refused to it one by one.

    Raises:
        UserError: it does not take one of them alone.
    """
    for text, talk in zip(texts, conversations, strict=True):
        try:
            _processed(vlm, [text], [talk], side)
        except Exception as problem:
            raise not_taken(vlm, talk.name, talk.turns, problem) from problem


def not_taken(vlm: VLM, name: str, turns: Sequence[Turn], problem: Exception) -> UserError:
    """What to raise where the processor does not take a conversation, which is told by its name or its first words."""
    what = name or f"the conversation that begins '{excerpt(turns[0].text, 60)}'"
    why = excerpt(f"{type(problem).__name__}: {problem}")
    return UserError(
        f"The {vlm.family.name} processor does not take {what} ({why}); mend its text or its image, or leave it out."
    )


def _inside(offsets: torch.Tensor, real: torch.Tensor, spans: Sequence[Sequence[Span]]) -> torch.Tensor:
    """Which tokens overlap one of their row's spans, [n, tokens] of bool."""
    found = torch.zeros_like(real)
    for row, wanted in enumerate(spans):
        begins, ends = offsets[row].unbind(-1)
        for start, end in wanted:
            found[row] |= real[row] & (ends > start) & (begins < end)
    return found


def _moved(spans: Sequence[Span], images: Sequence[Mapping[str, Span]]) -> list[Span]:
    """Spans of a rendered text in the text that the processor made of it: each placeholder before them has grown.

    Args:
        images: ``span`` and ``new_span`` of each placeholder, in order, as the processor tells them.
    """
    moved = []
    for start, end in spans:
        by = sum(
            (one["new_span"][1] - one["new_span"][0]) - (one["span"][1] - one["span"][0])
            for one in images
            if one["span"][1] <= start
        )
        moved.append((start + by, end + by))
    return moved


def cut(batch: Batch, limit: int, vlm: VLM) -> Batch:
    """Keep the first ``limit`` tokens of each row of a batch that was padded on the right.

    Raises:
        ImageCut: it would cut an image.
    """
    shape = batch["input_ids"].shape  # pixel tensors and grids have other shapes and stay whole
    beyond = vlm.is_visual(batch["input_ids"][:, limit:]).any(1)
    if beyond.any():
        raise ImageCut(limit, beyond.nonzero().ravel().tolist())
    return {k: v[:, :limit] if v.shape == shape else v for k, v in batch.items()}


def prepare(vlm: VLM, image: Image.Image) -> Image.Image:
    """The image as the family's own code gives it to the image processor."""
    return pad_to_square(image, vlm.processor.image_processor.image_mean) if vlm.family.square else image


def pad_to_square(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Centre the image on a square of the mean colour (channels in 0..1), as LLaVA's ``expand2square`` does.

    Raises:
        ValueError: a side is longer than `LARGEST_SQUARE`.
    """
    width, height = image.size
    side = check_square(width, height)
    if width == height:
        return image
    square = Image.new("RGB", (side, side), tuple(int(channel * 255) for channel in np.asarray(mean)))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def check_square(width: int, height: int) -> int:
    """The side of the square around an image.

    Raises:
        ValueError: it is longer than `LARGEST_SQUARE`.
    """
    if max(width, height) > LARGEST_SQUARE:
        raise ValueError(f"a square around {width:,} × {height:,} pixels is too large")
    return max(width, height)
