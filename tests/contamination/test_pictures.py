"""The same picture, a copy of it, and another one: on photographs."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from selectmm.contamination.pictures import nearly, same
from selectmm.pool.pictures import Pictures, join, load_pictures, look_at

TEMPLE, FLOWER = (Image.fromarray(pixels).resize((320, 213)) for pixels in load_sample_images().images)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def rescaled(image: Image.Image, by: float) -> Image.Image:
    return image.resize((round(image.width * by), round(image.height * by)))


def lossless(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.convert("RGBA").save(file, "WEBP", lossless=True)
    return Image.open(file)


KNOWN = look_at([FLOWER, TEMPLE])


@pytest.mark.parametrize("image", [TEMPLE, lossless(TEMPLE)], ids=["itself", "lossless, with alpha"])
def test_equal_pixels_are_the_same(image: Image.Image) -> None:
    assert same(look_at([image]), KNOWN) == [[1]]
    assert nearly(look_at([image]), KNOWN) == [[1]]


@pytest.mark.parametrize(
    "image",
    [compressed(TEMPLE, 30), compressed(TEMPLE, 90), rescaled(TEMPLE, 0.5), rescaled(TEMPLE, 2)],
    ids=["JPEG 30", "JPEG 90", "half", "double"],
)
def test_a_copy_is_nearly_the_same(image: Image.Image) -> None:
    assert same(look_at([image]), KNOWN) == [[]]
    assert nearly(look_at([image]), KNOWN) == [[1]]


def test_another_picture_or_another_colour_is_neither() -> None:
    turned = TEMPLE.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    red, green, blue = TEMPLE.split()
    recoloured = Image.merge("RGB", (blue, red, green))
    assert nearly(look_at([turned, recoloured]), KNOWN) == [[], []]


def test_plain_pictures_are_told_apart_by_their_colour() -> None:
    """The perceptual hash sees only grey structure, of which these have none."""
    plain = look_at([Image.new("RGB", (64, 64), colour) for colour in ("red", "green", "blue")])
    assert nearly(plain, plain) == [[0], [1], [2]]


def test_size_counts_for_sameness() -> None:
    tall, wide = Image.new("RGB", (10, 20)), Image.new("RGB", (20, 10))
    assert same(look_at([tall]), look_at([wide])) == [[]]


def test_many_at_a_time_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((60, 60)) for _ in range(12)]
    some, others = look_at([rescaled(image, 2) for image in images]), look_at(images)
    whole = nearly(some, others)
    monkeypatch.setattr("selectmm.contamination.pictures.BLOCK", 1)
    assert nearly(some, others) == whole
    assert [index in found for index, found in enumerate(whole)] == [True] * 12


def test_what_is_kept_comes_back_and_nothing_can_be_kept(tmp_path: Path) -> None:
    join([KNOWN, look_at([TEMPLE])]).save(tmp_path / "pictures.npz")
    back = load_pictures(tmp_path / "pictures.npz")
    assert same(back, KNOWN) == [[0], [1], [1]]
    nothing: Pictures = join([])
    assert (len(nothing), same(KNOWN, nothing), nearly(KNOWN, nothing)) == (0, [[], []], [[], []])
    assert same(nothing, KNOWN) == nearly(nothing, KNOWN) == []
