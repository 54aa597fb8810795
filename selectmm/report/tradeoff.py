"""The time-versus-score plot: what a subset costs beside what it keeps."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectmm.report import ranked
from selectmm.report.colours import style_of
from selectmm.report.labels import Label, place, shortened
from selectmm.report.marks import DOTS, INK, legend_of, marker_of
from selectmm.report.pictures import blank, keep
from selectmm.report.points import Point, pareto, points
from selectmm.report.rows import Comparison

MANY = 16  # points; more would cover one another, so each gets a line of its own
MARK = "point-"  # with a point's number: the name of its marker in the SVG
GUIDE = "#BDBDBD"
DASHES: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3))}


def draw(comparison: Comparison, floor: float | None = None) -> Figure:
    """The plot; an empty one says what is missing. More than `MANY` points are drawn as `ranked.draw` does.

    Args:
        floor: Rel. of the most frequent answer alone, in per cent; None if it is not known.
    """
    found = points(comparison)
    if len(found) > MANY:
        return ranked.draw(comparison, found, floor, MARK)
    figure = blank()
    axes = figure.add_subplot()
    _frame(axes, comparison)
    if not found:
        axes.set_axis_off()
        for line in list(axes.get_lines()):
            line.remove()
        why = "No run has a known Rel. and cost;\nthe notes below the table say why."
        axes.text(0.5, 0.5, why, ha="center", va="center", fontsize=14, color=INK, transform=axes.transAxes)
        return figure
    _front(axes, found)
    if floor is not None:
        axes.axhline(floor, zorder=1, **DOTS)
    colours = [style_of(point.method).colour for point in found]
    for series, colour in {point.series: colour for point, colour in zip(found, colours, strict=True)}.items():
        _join(axes, [point for point in found if point.series == series], colour)
    for number, point in enumerate(found):
        _mark(axes, point, f"{MARK}{number}")
    _legend(axes, found, floor)
    _limits(axes, found, floor)
    place(figure, axes, [_label(point, colour) for point, colour in zip(found, colours, strict=True)])
    return figure


def save_picture(comparison: Comparison, folder: Path, name: str, floor: float | None = None) -> tuple[Path, Path]:
    """Write ``<name>.svg`` and ``<name>.png`` of what `draw` draws; the same comparison gives the same bytes.

    Returns:
        The paths of the SVG and the PNG.
    """
    return keep(partial(draw, comparison, floor), folder, name)


def _frame(axes: Axes, comparison: Comparison) -> None:
    named = f"{shortened(comparison.experiment)} · {comparison.records[0].scale} scale"
    axes.set_title(
        f"What does a subset cost, and what does it keep?\n{named}",
        loc="left",
        parse_math=False,
        fontsize=13,
    )
    axes.set_xlabel("cost of selection + tuning (% of tuning on the full pool)")
    many = "1 benchmark" if len(comparison.counted) == 1 else f"{len(comparison.counted)} benchmarks"
    axes.set_ylabel(f"Rel.: mean of score / full's (%, {many})")
    axes.spines[["top", "right"]].set_visible(False)
    for line in (axes.axhline, axes.axvline):
        line(100, color=GUIDE, linewidth=0.8, zorder=0)


def _label(point: Point, colour: str) -> Label:
    return Label(point.label, point.cost, point.rel, point.cost_sd or 0.0, point.reach, colour)


def _front(axes: Axes, found: Sequence[Point]) -> None:
    front = [found[i] for i in pareto([(point.cost, point.rel) for point in found])]
    axes.plot([p.cost for p in front], [p.rel for p in front], zorder=1, **DASHES)


def _join(axes: Axes, series: Sequence[Point], colour: str) -> None:
    axes.plot([p.cost for p in series], [p.rel for p in series], color=colour, linewidth=0.9, alpha=0.6, zorder=2)


def _mark(axes: Axes, point: Point, name: str) -> None:
    width = 1.2 if point.rel_items is None else 0.6  # of one seed: thinner, it says less
    bars: dict[str, Any] = {"xerr": point.cost_sd, "yerr": point.reach or None, "fmt": "none", "elinewidth": width}
    axes.errorbar(point.cost, point.rel, **bars, ecolor=style_of(point.method).colour, zorder=2)
    axes.plot(point.cost, point.rel, **marker_of(point), zorder=3, gid=name)


def _legend(axes: Axes, found: Sequence[Point], floor: float | None) -> None:
    entries = legend_of(found, floor, [Line2D([], [], label="Pareto front of the means", **DASHES)])
    axes.figure.legend(handles=entries, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


def _limits(axes: Axes, found: Sequence[Point], floor: float | None) -> None:
    """Room for labels: cost starts at 0, Rel. ends a little beyond what was measured."""
    known = [100.0] if floor is None else [100.0, floor]
    low = min([*known, *(point.rel - point.reach for point in found)])
    high = max([*known, *(point.rel + point.reach for point in found)])
    room = max(1.0, 0.12 * (high - low))
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(0, 1.15 * max(100.0, *(point.cost + (point.cost_sd or 0) for point in found)))
