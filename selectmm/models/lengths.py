"""How many tokens conversations have, without a look at a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from selectmm.models.encode import check_square, not_taken
from selectmm.models.render import opening, render
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Shown, Turn

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Outline:
    """A `selectmm.models.encode.Conversation` with the sizes of its images in place of these."""

    turns: tuple[Turn, ...]
    sizes: tuple[Size, ...] = ()
    image_turn: int = 0
    name: str = ""
    shown: tuple[Shown, ...] = ()

    @property
    def places(self) -> tuple[Shown, ...]:
        """Where each image stands."""
        return self.shown or opening(len(self.sizes), self.image_turn)


def token_counts(vlm: VLM, outlines: Sequence[Outline]) -> torch.Tensor:
    """Tokens of each conversation as `selectmm.models.encode.encode` would make them, not cut; [n] of int64.

    The text with one placeholder per image is tokenised; how many tokens take a placeholder's place is the processor's
    own formula, which transformers keeps for engines that plan ahead.

    Raises:
        UserError: the processor takes no image of the size that a conversation has, which is named.
    """
    texts = [render(vlm.family.template, o.turns, o.places)[0] for o in outlines]
    ids = vlm.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    sizes = [size for outline in outlines for size in outline.sizes]
    try:
        counts = iter(image_tokens(vlm, sizes))
    except ValueError:
        _name_the_cause(vlm, outlines)
        raise
    more = [sum(next(counts) - 1 for _ in outline.sizes) for outline in outlines]
    return torch.tensor([len(row) + extra for row, extra in zip(ids, more, strict=True)])


def image_tokens(vlm: VLM, sizes: Sequence[Size]) -> list[int]:
    """The tokens that take a placeholder's place, for each image (with InternVL's two marks around them).

    Raises:
        ValueError: the processor takes no image of one of the sizes (Qwen: one side more than 200 times the other).
    """
    if not sizes:
        return []
    if vlm.family.square:  # as `selectmm.models.encode.prepare` pads it
        sizes = [(check_square(*size),) * 2 for size in sizes]
    images = vlm.processor.image_processor
    given = {}
    if getattr(images, "crop_size", ...) is None and images.size["height"]:  # LLaVA reads the crop
        given["crop_size"] = {"height": images.size["height"], "width": images.size["width"]}
    turned = [(height, width) for width, height in sizes]
    return vlm.processor._get_num_multimodal_tokens(image_sizes=turned, **given)["num_image_tokens"]


def _name_the_cause(vlm: VLM, outlines: Sequence[Outline]) -> None:
    for outline in outlines:
        try:
            image_tokens(vlm, outline.sizes)
        except ValueError as problem:
            raise not_taken(vlm, outline.name, outline.turns, problem) from problem
