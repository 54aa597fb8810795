"""How points look on a picture of results, and the legend that says so."""

from collections.abc import Sequence
from typing import Any

from matplotlib.lines import Line2D

from selectmm.report.colours import style_of
from selectmm.report.points import Point

INK = "#555555"
DOTS: dict[str, Any] = {"color": INK, "linewidth": 1.0, "linestyle": (0, (1, 2))}


def marker_of(point: Point) -> dict[str, Any]:
    """The marker of a point, as matplotlib's arguments: hollow after a number of steps, a star for the full run."""
    style = style_of(point.method)
    hollow = point.length == "steps"
    outlined = hollow or style.marker == "*"  # other filled markers may overlap: white keeps them apart
    return {
        "color": style.colour,
        "marker": style.marker,
        "markersize": 13 if style.marker == "*" else 8 if outlined else 11,
        "markerfacecolor": "white" if hollow else style.colour,
        "markeredgecolor": style.colour if outlined else "white",
        "markeredgewidth": 1.6 if outlined else 0.9,
    }


def legend_of(found: Sequence[Point], floor: float | None, others: Sequence[Line2D], stroke: str = "|") -> list[Line2D]:
    """The legend, only what labels beside the points cannot say: filled, hollow, bars, the floor, and ``others``.

    Args:
        stroke: how bars of Rel. lie, as matplotlib's marker: ``|`` upright, ``_`` level.
    """
    dot: dict[str, Any] = {"color": INK, "markersize": 7, "markeredgewidth": 1.4, "marker": "o", "linestyle": ""}
    entries = []
    if any(point.length == "steps" for point in found):
        if any(point.length != "steps" for point in found):
            entries.append(Line2D([], [], label="passes over the subset (recipe.length: epochs)", **dot))
        entries.append(Line2D([], [], label="a number of steps (recipe.length: steps)", markerfacecolor="white", **dot))
    entries += others
    if floor is not None:
        entries.append(Line2D([], [], label="the most frequent answer alone", **DOTS))
    if any(point.rel_sd is not None for point in found):
        entries.append(Line2D([], [], label="± sd over seeds", color=INK, marker=stroke, markersize=9, linestyle=""))
    if any(point.rel_items for point in found):
        thin: dict[str, Any] = {"marker": stroke, "markersize": 9, "markeredgewidth": 0.6, "linestyle": ""}
        entries.append(Line2D([], [], label="95 % over items, of one seed", color=INK, **thin))
    return entries
