"""What only InternVL3 does: an image may be several tiles."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from selectmm.errors import UserError
from selectmm.models import internvl3
from selectmm.models.encode import Conversation, encode
from selectmm.pool.sample import Turn
from tests.families import tiny_internvl3

LEFT, RIGHT = (250, 0, 0), (0, 0, 250)
TURNS = (Turn("user", "A"), Turn("assistant", "3"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_internvl3(tmp_path_factory.mktemp("internvl3"))


def wide() -> Image.Image:
    """Twice as wide as high, a tile's size per half, each half of one colour."""
    image = Image.new("RGB", (112, 56), LEFT)
    image.paste(RIGHT, (56, 0, 112, 56))
    return image


def normalised(colour: tuple[int, int, int]) -> torch.Tensor:
    """By hand: ImageNet's mean and deviation, which OpenGVLab's ``build_transform`` uses."""
    means, deviations = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return torch.tensor([(c / 255 - m) / d for c, m, d in zip(colour, means, deviations, strict=True)])


def test_one_tile_is_the_whole_image(folder: Path) -> None:
    vlm = internvl3.load(str(folder), tiles=1, device="cpu")
    batch = encode(vlm, [Conversation(TURNS, (wide(),))], side="right", limit=None)
    assert batch["pixel_values"].shape == (1, 3, 56, 56)
    assert int((batch["input_ids"] == vlm.image_token_id).sum()) == 4
    torch.testing.assert_close(batch["pixel_values"][0, :, 10, 10], normalised(LEFT), atol=0.02, rtol=0)
    torch.testing.assert_close(batch["pixel_values"][0, :, 10, 45], normalised(RIGHT), atol=0.02, rtol=0)


def test_an_image_of_two_tiles_is_its_halves_and_then_the_whole(folder: Path) -> None:
    vlm = internvl3.load(str(folder), tiles=2, device="cpu")
    batch = encode(vlm, [Conversation(TURNS, (wide(),))], side="right", limit=None)
    assert batch["pixel_values"].shape == (3, 3, 56, 56)
    for tile, colour in ((0, LEFT), (1, RIGHT)):
        flat = normalised(colour)[:, None, None].expand(3, 56, 56)
        torch.testing.assert_close(batch["pixel_values"][tile], flat, atol=1e-4, rtol=0)
    text = vlm.processor.tokenizer.decode(batch["input_ids"][0])
    assert text.count("<IMG_CONTEXT>") == 3 * 4
    assert f"<|im_start|>user\n<img>{'<IMG_CONTEXT>' * 12}</img>\nA<|im_end|>\n" in text


def test_tiles_are_part_of_the_models_identity_and_there_is_at_least_one(folder: Path) -> None:
    assert (
        internvl3.load(str(folder), 1, device="cpu").identity != internvl3.load(str(folder), 2, device="cpu").identity
    )
    with pytest.raises(UserError, match="at least one tile"):
        internvl3.load(str(folder), 0, device="cpu")
