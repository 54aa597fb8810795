"""Direct labels that overlap nothing: every text tries places around its point, nearest first.

Boxes are rows (left, bottom, right, top) of arrays [boxes, 4], in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import cos, radians, sin
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation, Text

ANGLES = (0, 180, 25, 155, -25, -155, 65, 115, -65, -115, 90, -90)  # degrees from the right, anticlockwise
DISTANCES = (13.0, 20.0, 30.0, 42.0, 56.0, 74.0, 96.0)  # points
CROSSING = 60.0  # square pixels that a leader's crossing of something weighs
STRIKING = 600.0  # and what its crossing of another label's words weighs
SMALL_FROM = 8  # labels; so many are written smaller
LONGEST = 40  # characters of a label; an option may be a path
SHADE = 0.62  # of the marker's colour, for its words: thin strokes of orange or light blue fade on a screen
PASSES = 2
WORDS, LEADER = slice(1), slice(1, None)  # of a label's boxes
LEADER_FROM = 30.0  # from this distance on, a thin line leads from the text to its point


@dataclass(frozen=True)
class Label:
    """A text at a point of the axes' data, and the half-widths of what is drawn around the point (data units)."""

    text: str
    x: float
    y: float
    x_reach: float
    y_reach: float
    colour: str


def place(figure: Figure, axes: Axes, labels: Sequence[Label]) -> None:
    """Annotate every label where it hides no marker, error bar, line or other label, and stays inside the axes.

    Greedy and without randomness: most crowded points first, then all once more, now that the others' places are known.
    A label that fits nowhere takes the place where it overlaps least.
    """
    figure.draw_without_rendering()  # the layout must be final before pixels mean anything
    size = 11.0 if len(labels) < SMALL_FROM else 9.0
    drawn = [_drawn(axes, label) for label in labels]
    drawn += [_along(line.get_transform().transform(line.get_xydata())) for line in axes.get_lines()]
    ordered = sorted(labels, key=lambda label: (-_crowd(axes, label, labels), label.text))
    placed: dict[int, tuple[Annotation, np.ndarray]] = {}
    for number, label in [*enumerate(ordered)] * PASSES:
        if number in placed:
            placed.pop(number)[0].remove()
        others = [np.empty((0, 4)), *(boxes for _, boxes in placed.values())]
        words, leaders = (np.concatenate([some[part] for some in others]) for part in (WORDS, LEADER))
        placed[number] = _annotate(figure, axes, label, size, np.concatenate([*drawn, *others]), words, leaders)


def shortened(text: str) -> str:
    """One line of at most `LONGEST` printable characters."""
    line = "".join(character if character.isprintable() else " " for character in text)
    half = LONGEST // 2
    return line if len(line) <= LONGEST else f"{line[: half - 1]}…{line[-half:]}"  # paths differ at their end


def _drawn(axes: Axes, label: Label) -> np.ndarray:
    """Boxes around a point's marker and its two error bars."""
    x, y = axes.transData.transform((label.x, label.y))
    left, low = axes.transData.transform((label.x - label.x_reach, label.y - label.y_reach))
    size = 6 * axes.figure.dpi / 72
    marker = (x - size, y - size, x + size, y + size)
    return np.array([marker, (left, y - 2, 2 * x - left, y + 2), (x - 2, low, x + 2, 2 * y - low)])


def _along(corners: np.ndarray) -> np.ndarray:
    """Small boxes that cover a line with the given corners, [corners, 2]."""
    pieces = [np.empty((0, 2))]
    for start, end in pairwise(corners):
        steps = max(2, int(np.abs(end - start).max() / 4))
        pieces.append(start + np.linspace(0, 1, steps)[:, None] * (end - start))
    spots = np.concatenate(pieces)
    return np.hstack([spots - 2, spots + 2])


def _crowd(axes: Axes, label: Label, labels: Sequence[Label]) -> int:
    """How many points lie within an inch."""
    here = axes.transData.transform((label.x, label.y))
    others = [axes.transData.transform((other.x, other.y)) for other in labels]
    return sum(((here - there) ** 2).sum() < axes.figure.dpi**2 for there in others)


def _annotate(
    figure: Figure,
    axes: Axes,
    label: Label,
    size: float,
    avoid: np.ndarray,
    words: np.ndarray,
    leaders: np.ndarray,
) -> tuple[Annotation, np.ndarray]:
    """Write the label at the first place that is free, else at the freest; returns it, its box and its leader's.

    Args:
        avoid: boxes of all that is drawn. words, leaders: of the other labels among it.
    """
    free: list[tuple[float, int, float, int]] = []
    for order, (distance, angle) in enumerate(product(DISTANCES, ANGLES)):
        text = _write(axes, label, size, distance, angle)
        boxes = _extents(figure, axes, label, text, distance)
        text.remove()
        hidden = _outside(boxes[0], np.asarray(axes.bbox.extents)) + _common(boxes[:1], avoid).sum()
        crossed, struck = ((_common(boxes[LEADER], others) > 0).any(0).sum() for others in (avoid, words))
        struck += (_common(boxes[WORDS], leaders) > 0).any()
        free.append((hidden + CROSSING * crossed + STRIKING * struck, order, distance, angle))
        if free[-1][0] == 0:
            break
    _, _, distance, angle = min(free)
    text = _write(axes, label, size, distance, angle)
    return text, _extents(figure, axes, label, text, distance)


def _write(axes: Axes, label: Label, size: float, distance: float, angle: float) -> Annotation:
    across, up = distance * cos(radians(angle)), distance * sin(radians(angle))
    line = {"arrowstyle": "-", "color": label.colour, "linewidth": 0.7, "shrinkB": 6, "shrinkA": 1}
    return axes.annotate(
        shortened(label.text),
        (label.x, label.y),
        (across, up),
        parse_math=False,  # a name may hold dollars
        textcoords="offset points",
        ha="center" if abs(angle) == 90 else "left" if across > 0 else "right",
        va="center" if abs(sin(radians(angle))) < 0.5 else "bottom" if up > 0 else "top",
        color=tuple(SHADE * part for part in to_rgb(label.colour)),
        fontsize=size,
        zorder=4,
        arrowprops=line if distance >= LEADER_FROM else None,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],
    )


def _extents(figure: Figure, axes: Axes, label: Label, text: Annotation, distance: float) -> np.ndarray:
    """The words' box (an annotation's own extent would hold its leader too), then the leader's, step by step."""
    renderer = cast(FigureCanvasAgg, figure.canvas).get_renderer()
    text.update_positions(renderer)
    words = Text.get_window_extent(text, renderer).padded(4, 2)
    if distance < LEADER_FROM:
        return np.asarray(words.extents)[None]
    point = axes.transData.transform((label.x, label.y))
    anchor = np.clip(point, words.min, words.max)  # the words' nearest spot
    start = point + (anchor - point) * min(1.0, 12 * axes.figure.dpi / 72 / max(np.hypot(*(anchor - point)), 1.0))
    return np.vstack([words.extents, _along(np.stack([start, anchor]))])


def _common(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Area that each of some boxes shares with each of the others, [some, others]."""
    low = np.maximum(some[:, None, :2], others[None, :, :2])
    high = np.minimum(some[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(-1)


def _outside(box: np.ndarray, frame: np.ndarray) -> float:
    """Area of a box that lies outside of the frame."""
    return float((box[2:] - box[:2]).prod() - _common(box[None], frame[None])[0, 0])
