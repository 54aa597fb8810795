"""Pixels that reach the vision tower, against values worked out by hand.

Sources: LLaVA's ``expand2square`` and ``image_aspect_ratio: pad`` (llava/train/train.py and the published
scripts/v1_5/finetune.sh), CLIP's mean and deviation; Qwen2-VL's smart_resize and its order of patches, as its
image processor documents them.
"""

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.models.encode import Conversation, encode, pad_to_square
from selectmm.pool.sample import Turn
from tests.models.test_parity_llava import vlm_with
from tests.models.test_parity_qwen import qwen2

CLIP_MEAN, CLIP_DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
MEAN_COLOUR = (122, 116, 104)  # 255 times CLIP's mean, rounded down: LLaVA's conversation.py has it written out
RED = (255, 0, 0)
RED_SEEN = (1.93034, -1.75210, -1.48022)  # (1 − 0.48145466) / 0.26862954, −0.4578275 / 0.26130258, …
MEAN_SEEN = (-0.01125, -0.01120, -0.00133)  # (122 / 255 − 0.48145466) / 0.26862954, …
TURNS = (Turn("user", "What?"), Turn("assistant", "3"))


def row_of(colour: tuple[int, int, int], width: int) -> list[list[int]]:
    return [list(colour)] * width


def test_a_wide_image_gets_rows_of_the_mean_colour_above_and_below() -> None:
    square = np.asarray(pad_to_square(Image.new("RGB", (4, 2), RED), CLIP_MEAN))
    filled, shown = row_of(MEAN_COLOUR, 4), row_of(RED, 4)
    assert square.tolist() == [filled, shown, shown, filled]


def test_a_tall_image_gets_columns_and_an_odd_rest_goes_behind() -> None:
    square = np.asarray(pad_to_square(Image.new("RGB", (2, 5), RED), CLIP_MEAN))
    assert square.tolist() == [row_of(MEAN_COLOUR, 1) + row_of(RED, 2) + row_of(MEAN_COLOUR, 2)] * 5


def test_a_square_image_is_left_as_it_is() -> None:
    image = Image.new("RGB", (3, 3), RED)
    assert pad_to_square(image, CLIP_MEAN) is image


def test_llava_sees_the_whole_image_between_bars_of_the_mean_colour() -> None:
    vlm = vlm_with("vicuna")
    seen = encode(vlm, [Conversation(TURNS, (Image.new("RGB", (28, 14), RED),))], side="right", limit=None)
    pixels = seen["pixel_values"]
    assert pixels.shape == (1, 3, 28, 28)
    for rows, colour in ((slice(0, 7), MEAN_SEEN), (slice(7, 21), RED_SEEN), (slice(21, 28), MEAN_SEEN)):
        expected = torch.tensor(colour)[:, None, None].expand(3, rows.stop - rows.start, 28)
        torch.testing.assert_close(pixels[0, :, rows], expected, atol=1e-4, rtol=0)


def test_hugging_faces_processor_alone_does_not_pad_but_cuts_to_the_middle() -> None:
    """Which is why `encode` pads first: left to itself the processor never shows the ends of a long image."""
    image = Image.new("RGB", (56, 28), RED)
    image.paste((0, 0, 255), (0, 0, 14, 28))  # the left quarter is blue, and is what the cut takes away
    vlm = vlm_with("vicuna")
    alone = vlm.processor.image_processor(image, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(alone[0], torch.tensor(RED_SEEN)[:, None, None].expand(3, 28, 28), atol=0.02, rtol=0)
    padded = encode(vlm, [Conversation(TURNS, (image,))], side="right", limit=None)["pixel_values"]
    blue = [(c - mean) / width for c, mean, width in zip((0, 0, 1), CLIP_MEAN, CLIP_DEVIATION, strict=True)]
    torch.testing.assert_close(padded[0, :, 14, 2], torch.tensor(blue), atol=0.02, rtol=0)
    torch.testing.assert_close(padded[0, :, 2, 14], torch.tensor(MEAN_SEEN), atol=0.02, rtol=0)


# The order in which Qwen's tower reads a 4 × 4 grid of patches: blocks of 2 × 2, which become one token each, row by
# row, and inside a block row by row.
READ = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]


def test_qwen_reads_patches_in_blocks_of_one_token_and_each_twice() -> None:
    grid = np.arange(16, dtype=np.uint8).reshape(4, 4).repeat(14, 0).repeat(14, 1) * 10
    image = Image.fromarray(np.stack([grid] * 3, -1))
    batch = encode(qwen2(), [Conversation(TURNS, (image,))], side="right", limit=None)
    assert batch["image_grid_thw"].tolist() == [[1, 4, 4]]
    assert batch["pixel_values"].shape == (16, 3 * 2 * 14 * 14)
    for position, patch in enumerate(READ):
        seen = batch["pixel_values"][position].reshape(3, 2 * 14 * 14)  # colour, then the image as two equal frames
        for colour in range(3):
            value = (patch * 10 / 255 - CLIP_MEAN[colour]) / CLIP_DEVIATION[colour]
            torch.testing.assert_close(seen[colour], torch.full((392,), value), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("size", "grid"),
    [
        ((84, 56), [1, 4, 6]),  # fits as it is: 6 × 4 patches of 14 pixels, not padded to a square
        ((90, 60), [1, 4, 6]),  # 90 and 60 are nearest to 84 and 56, multiples of 28
        ((28, 28), [1, 4, 4]),  # less than 4 · 28² pixels: enlarged by √4
        ((280, 280), [1, 8, 8]),  # more than 16 · 28² pixels: reduced by √(16 · 28² / 280²) to 112
    ],
)
def test_qwen_keeps_the_shape_of_an_image(size: tuple[int, int], grid: list[int]) -> None:
    vlm = qwen2()
    batch = encode(vlm, [Conversation(TURNS, (Image.new("RGB", size, RED),))], side="right", limit=None)
    assert batch["image_grid_thw"].tolist() == [grid]
    assert int((batch["input_ids"] == vlm.image_token_id).sum()) == grid[1] * grid[2] // 4


@pytest.mark.parametrize("size", [100, 336, 640])
def test_resampling_is_pil_s_to_two_grey_levels(size: int) -> None:
    """LLaVA was trained with PIL's bicubic filter; transformers 5 resizes with torchvision's."""
    from transformers import CLIPImageProcessor  # here: torchvision only imports after selectmm.models has

    coarse = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size // 8, size // 8, 3), np.uint8))
    image = coarse.resize((size, size), Image.Resampling.BICUBIC)
    processor = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    seen = processor(images=image, return_tensors="pt")["pixel_values"][0].numpy()
    resized = np.asarray(image.resize((336, 336), Image.Resampling.BICUBIC), np.float64) / 255
    expected = ((resized - CLIP_MEAN) / CLIP_DEVIATION).transpose(2, 0, 1)
    levels = np.abs(seen - expected) * np.array(CLIP_DEVIATION)[:, None, None] * 255
    assert levels.max() <= 2.01
