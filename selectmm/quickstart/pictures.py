"""Pictures rendered from real material: digits enlarged or set side by side, bars, pairs of shapes, empty images."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96  # pixels; the tower's own resolution, so that nothing is resampled twice
_PALETTE = ((200, 60, 60), (60, 90, 200), (60, 160, 80), (220, 170, 40), (130, 80, 160), (90, 90, 90))


def digit(ink: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """One handwritten digit, dark on white, of a random size and at a random place."""
    side = int(rng.integers(40, SIDE + 1))
    left, top = (int(rng.integers(0, SIDE - side + 1)) for _ in range(2))
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    canvas.paste(_ink(ink, side), (left, top))
    return canvas


def number(inks: Sequence[np.ndarray]) -> Image.Image:
    """Two or three handwritten digits in a line, each in its own third of the picture, from the left."""
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    for place, ink in enumerate(inks):
        canvas.paste(_ink(ink, SIDE // 3), (place * SIDE // 3, SIDE // 3))
    return canvas


def bars(heights: Sequence[float], rng: np.random.Generator) -> Image.Image:
    """Three bars from the left, heights in proportion, in random colours; no labels."""
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(canvas)
    colours = rng.permutation(len(_PALETTE))
    for place, height in enumerate(heights):
        top = SIDE - 4 - round(84 * height / max(heights))
        left = place * SIDE // 3 + 5
        pen.rectangle((left, top, left + 22, SIDE - 4), fill=_PALETTE[colours[place]])
    return canvas


def pair(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures side by side at half size, on the colour of the left one's corner."""
    canvas = Image.new("RGB", (SIDE, SIDE), left.getpixel((0, 0)))
    for place, image in enumerate((left, right)):
        canvas.paste(image.resize((SIDE // 2, SIDE // 2), Image.Resampling.BILINEAR), (place * SIDE // 2, SIDE // 4))
    return canvas


def empty(rng: np.random.Generator) -> Image.Image:
    """Nothing to see: one colour with a little noise, or noise alone."""
    level, strength = rng.integers(0, 256, 3), float(rng.choice([3.0, 80.0]))
    pixels = level + rng.normal(0, strength, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _ink(ink: np.ndarray, side: int) -> Image.Image:
    small = Image.fromarray((255 - ink * (255 / 16)).astype(np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC).convert("RGB")
