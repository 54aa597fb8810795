"""What clips show: a shape of easy-VQA's kind on a plain ground that moves, appears, grows or changes its colour.

Every motion is there with its reverse, which holds the same frames in the other order and has the other answer. So no
frame gives the answer away, nor do all of them without their order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from selectmm.quickstart.material import COLOURS, SHAPES

Part = Literal["pool", "held"]
Kind = Literal["direction", "existence", "size", "order"]

FRAMES, FPS, SIDE = 8, 4, 96  # two seconds; pixels of a side, as pictures of the embedded pool have
VARIANTS = {"pool": range(7), "held": range(7, 10)}  # of each shape in each colour; no variant is in both parts
MARGIN = 4  # pixels between a shape and the edge

# As easy-VQA calls and paints them.
_PAINT = dict(
    zip(
        COLOURS,
        (
            (0, 0, 0),
            (0, 0, 255),
            (139, 69, 19),
            (128, 128, 128),
            (0, 128, 0),
            (255, 0, 0),
            (0, 128, 128),
            (255, 255, 0),
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class Motif:
    """A shape before it moves; lengths in pixels, ``place`` is its centre. ``second`` is another colour."""

    shape: str
    colour: str
    second: str
    place: tuple[int, int]
    radius: int
    ground: tuple[int, int, int]


@dataclass(frozen=True)
class Motion:
    """A clip and what can be asked of it. ``frames`` is [frames, height, width, 3] of uint8."""

    kind: Kind
    question: str
    answer: str
    options: tuple[str, ...]
    colour: str
    frames: np.ndarray


def motions(kind: Kind, part: Part) -> Iterator[Motion]:
    """All motions of one kind in one part of the motifs, in a random order; each is followed by its reverse."""
    for motif, upright in _motifs(kind, part):
        question, options, (forth, back), frames = _MAKERS[kind](motif, upright)
        yield Motion(kind, question, forth, options, motif.colour, frames)
        yield Motion(kind, question, back, options, motif.colour, frames[::-1].copy())


def _motifs(kind: Kind, part: Part) -> list[tuple[Motif, bool]]:
    """Every shape in every colour, several times; and whether it moves up and down, which half of them do."""
    names = [(s, c, v) for s in range(len(SHAPES)) for c in range(len(COLOURS)) for v in VARIANTS[part]]
    rng = np.random.default_rng([KINDS.index(kind), len(names)])
    made = [_motif(kind, *name) for name in (names[i] for i in rng.permutation(len(names)))]
    return [(motif, bool(number % 2)) for number, motif in enumerate(made)]


def _motif(kind: Kind, shape: int, colour: int, variant: int) -> Motif:
    rng = np.random.default_rng([KINDS.index(kind), shape, colour, variant])
    radius = int(rng.integers(10, 19))
    x, y = (int(one) for one in rng.integers(radius + MARGIN, SIDE - radius - MARGIN, 2))
    red, green, blue = (int(level) for level in rng.integers(215, 256, 3))
    second = COLOURS[(colour + int(rng.integers(1, len(COLOURS)))) % len(COLOURS)]
    return Motif(SHAPES[shape], COLOURS[colour], second, (x, y), radius, (red, green, blue))


Made = tuple[str, tuple[str, ...], tuple[str, str], np.ndarray]  # question, options, answers forth and back, frames


def _direction(motif: Motif, upright: bool) -> Made:
    start, end = motif.radius + MARGIN, SIDE - motif.radius - MARGIN
    way = np.linspace(start, end, FRAMES).round().astype(int).tolist()
    x, y = motif.place
    places = [(x, at) if upright else (at, y) for at in way]
    frames = [_drawn(motif, motif.colour, place, motif.radius) for place in places]
    answers = ("down", "up") if upright else ("right", "left")
    question = f"Which way does the {motif.shape} move?"
    return question, ("left", "right", "up", "down"), answers, np.stack(frames)


def _existence(motif: Motif, _upright: bool) -> Made:
    half = FRAMES // 2
    frames = [_drawn(motif, motif.colour, motif.place, radius) for radius in [0] * half + [motif.radius] * half]
    question = f"Does the {motif.shape} appear or disappear?"
    return question, ("appears", "disappears"), ("appears", "disappears"), np.stack(frames)


def _size(motif: Motif, _upright: bool) -> Made:
    middle = (SIDE // 2 + (motif.place[0] - SIDE // 2) // 4, SIDE // 2 + (motif.place[1] - SIDE // 2) // 4)
    sizes = np.linspace(motif.radius // 2, 2 * motif.radius - 4, FRAMES).round().astype(int).tolist()
    frames = [_drawn(motif, motif.colour, middle, size) for size in sizes]
    question = f"Does the {motif.shape} grow or shrink?"
    return question, ("grows", "shrinks"), ("grows", "shrinks"), np.stack(frames)


def _order(motif: Motif, _upright: bool) -> Made:
    half = FRAMES // 2
    colours = [motif.colour] * half + [motif.second] * half
    frames = [_drawn(motif, colour, motif.place, motif.radius) for colour in colours]
    options = tuple(sorted((motif.colour, motif.second)))
    return f"Which color does the {motif.shape} have first?", options, (motif.colour, motif.second), np.stack(frames)


_MAKERS: dict[Kind, Callable[[Motif, bool], Made]] = {
    "direction": _direction,
    "existence": _existence,
    "size": _size,
    "order": _order,
}
KINDS: tuple[Kind, ...] = tuple(_MAKERS)


def _drawn(motif: Motif, colour: str, place: tuple[int, int], radius: int) -> np.ndarray:
    """One frame, [height, width, 3]; computed from pixels' places alone, so it is the same on every machine."""
    frame = np.empty((SIDE, SIDE, 3), np.uint8)
    frame[:] = motif.ground
    y, x = np.mgrid[:SIDE, :SIDE]
    x, y = x - place[0], y - place[1]
    inside = {
        "circle": x**2 + y**2 <= radius**2,
        "rectangle": (abs(x) <= radius) & (3 * abs(y) <= 2 * radius),
        "triangle": (abs(y) <= radius) & (2 * abs(x) <= y + radius),
    }[motif.shape]
    frame[inside & (radius > 0)] = _PAINT[colour]
    return frame
