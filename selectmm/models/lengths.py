"""How many tokens conversations have, without a look at a pixel."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from selectmm.models.encode import check_square, not_taken
from selectmm.models.render import render
from selectmm.models.video import replacement_of
from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip
from selectmm.pool.sample import Shown, Turn

Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True)
class Outline:
    """A `selectmm.models.encode.Conversation` with the sizes of its images in place of these; clips as they are."""

    turns: tuple[Turn, ...]
    sizes: tuple[Size | Clip, ...] = ()
    image_turn: int = 0
    name: str = ""
    shown: tuple[Shown, ...] = ()

    @property
    def places(self) -> tuple[Shown, ...]:
        """Where each image stands."""
        return self.shown or tuple(Shown("", self.image_turn, video=isinstance(one, Clip)) for one in self.sizes)


def token_counts(vlm: VLM, outlines: Sequence[Outline]) -> torch.Tensor:
    """Tokens of each conversation as `selectmm.models.encode.encode` would make them, not cut; [n] of int64.

    The text with one placeholder per image is tokenised; how many tokens take a placeholder's place is the processor's
    own formula, which transformers keeps for engines that plan ahead.

    Raises:
        UserError: the processor takes no image or clip of the size that a conversation has, which is named.
    """
    try:
        return _counted(vlm, outlines)
    except ValueError:
        _name_the_cause(vlm, outlines)
        raise


def _counted(vlm: VLM, outlines: Sequence[Outline]) -> torch.Tensor:
    """As `token_counts`.

    Raises:
        ValueError: see `token_counts`.
    """
    texts = [render(vlm.family.template, o.turns, o.places)[0] for o in outlines]
    texts = [_with_clips(vlm, text, outline) for text, outline in zip(texts, outlines, strict=True)]
    ids = vlm.processor.tokenizer(texts, add_special_tokens=False)["input_ids"]
    sizes = [_image_sizes(vlm, outline) for outline in outlines]
    counts = iter(image_tokens(vlm, [size for of in sizes for size in of]))
    each, several = [[next(counts) for _ in of] for of in sizes], tokens_among_others(vlm)
    if several is not None:
        each = [[several] * len(of) if len(of) > 1 else of for of in each]
    return torch.tensor([len(row) + sum(of) - len(of) for row, of in zip(ids, each, strict=True)])


def _image_sizes(vlm: VLM, outline: Outline) -> list[Size]:
    """Of the images that the image processor is given (`selectmm.models.video.as_images`)."""
    frames = vlm.family.frames or 0
    return [
        size
        for one in outline.sizes
        for size in ([(one.width, one.height)] * frames if isinstance(one, Clip) else [one])
    ]


def _with_clips(vlm: VLM, text: str, outline: Outline) -> str:
    """The text with the processor's own in place of each clip's placeholder."""
    clips = [size for size in outline.sizes if isinstance(size, Clip)]
    if not clips or vlm.family.frames is not None:
        return text
    first, *pieces = text.split(vlm.processor.video_token)
    return first + "".join(replacement_of(vlm, clip) + piece for clip, piece in zip(clips, pieces, strict=True))


def image_tokens(vlm: VLM, sizes: Sequence[Size]) -> list[int]:
    """The tokens that take a placeholder's place, for each image (with InternVL's two marks around them) that is the
    only one of its row.

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


def tokens_among_others(vlm: VLM) -> int | None:
    """The tokens of an image whose row shows several, where it is seen otherwise then (`Family.tiles_alone`)."""
    if not vlm.family.tiles_alone:
        return None
    text = vlm.processor.replace_image_token({"batch_num_images": [2]}, image_idx=0)
    return text.count(vlm.processor.image_token)


def _name_the_cause(vlm: VLM, outlines: Sequence[Outline]) -> None:
    for outline in outlines:
        try:
            _counted(vlm, [outline])
        except ValueError as problem:
            raise not_taken(vlm, outline.name, outline.turns, problem) from problem
