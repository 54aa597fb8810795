"""The time-versus-score plot: what a subset costs beside what it keeps."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectmm.report.colours import Style, style_of
from selectmm.report.labels import Label, place, shortened
from selectmm.report.pictures import blank, keep
from selectmm.report.points import Point, pareto, points
from selectmm.report.rows import Comparison

MARK = "point-"  # with a point's number: the name of its marker in the SVG
INK, GUIDE = "#555555", "#BDBDBD"
DASHES: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3))}
DOTS: dict[str, Any] = {"color": INK, "linewidth": 1.0, "linestyle": (0, (1, 2))}


def draw(comparison: Comparison, floor: float | None = None) -> Figure:
    """The plot; an empty one says what is missing.

    Args:
        floor: Rel. of the most frequent answer alone, in per cent; None if it is not known.
    """
    figure = blank()
    axes = figure.add_subplot()
    found = points(comparison)
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
    styles = [style_of(point.method) for point in found]
    for series, style in {point.series: style for point, style in zip(found, styles, strict=True)}.items():
        _join(axes, [point for point in found if point.series == series], style.colour)
    for number, (point, style) in enumerate(zip(found, styles, strict=True)):
        _mark(axes, point, style, f"{MARK}{number}")
    _legend(axes, found, floor)
    _limits(axes, found, floor)
    place(figure, axes, [_label(point, style.colour) for point, style in zip(found, styles, strict=True)])
    return figure


def save_picture(comparison: Comparison, folder: Path, name: str, floor: float | None = None) -> tuple[Path, Path]:
    """Write ``<name>.svg`` and ``<name>.png`` of what `draw` draws; the same comparison gives the same bytes.

    Returns:
        The paths of the SVG and the PNG.
    """
    return keep(partial(draw, comparison, floor), folder, name)


def _frame(axes: Axes, comparison: Comparison) -> None:
    first = comparison.records[0]
    axes.set_title(
        f"What does a subset cost, and what does it keep?\n{shortened(first.experiment)} · {first.scale} scale",
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


def _mark(axes: Axes, point: Point, style: Style, name: str) -> None:
    colour, marker = style.colour, style.marker
    hollow = point.length == "steps"
    outlined = hollow or marker == "*"  # other filled markers may overlap: white keeps them apart
    width = 1.2 if point.rel_items is None else 0.6  # of one seed: thinner, it says less
    bars: dict[str, Any] = {
        "xerr": point.cost_sd,
        "yerr": point.reach or None,
        "fmt": "none",
        "ecolor": colour,
        "elinewidth": width,
    }
    axes.errorbar(point.cost, point.rel, **bars, zorder=2)
    axes.plot(
        point.cost,
        point.rel,
        color=colour,
        marker=marker,
        markersize=13 if marker == "*" else 8 if outlined else 11,
        markerfacecolor="white" if hollow else colour,
        markeredgecolor=colour if outlined else "white",
        markeredgewidth=1.6 if outlined else 0.9,
        zorder=3,
        gid=name,
    )


def _legend(axes: Axes, found: Sequence[Point], floor: float | None) -> None:
    """Only what direct labels cannot say: filled, hollow, bars, the front and the floor."""
    dot: dict[str, Any] = {"color": INK, "markersize": 7, "markeredgewidth": 1.4, "marker": "o", "linestyle": ""}
    entries = []
    if any(point.length == "steps" for point in found):
        entries.append(Line2D([], [], label="passes over the subset (recipe.length: epochs)", **dot))
        entries.append(Line2D([], [], label="a number of steps (recipe.length: steps)", markerfacecolor="white", **dot))
    entries.append(Line2D([], [], label="Pareto front of the means", **DASHES))
    if floor is not None:
        entries.append(Line2D([], [], label="the most frequent answer alone", **DOTS))
    if any(point.rel_sd is not None for point in found):
        entries.append(Line2D([], [], label="± sd over seeds", color=INK, marker="|", markersize=9, linestyle=""))
    if any(point.rel_items for point in found):
        thin: dict[str, Any] = {"marker": "|", "markersize": 9, "markeredgewidth": 0.6, "linestyle": ""}
        entries.append(Line2D([], [], label="95 % over items, of one seed", color=INK, **thin))
    axes.figure.legend(handles=entries, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


def _limits(axes: Axes, found: Sequence[Point], floor: float | None) -> None:
    """Room for labels: cost starts at 0, Rel. ends a little beyond what was measured."""
    known = [100.0] if floor is None else [100.0, floor]
    low = min([*known, *(point.rel - point.reach for point in found)])
    high = max([*known, *(point.rel + point.reach for point in found)])
    room = max(1.0, 0.12 * (high - low))
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(0, 1.15 * max(100.0, *(point.cost + (point.cost_sd or 0) for point in found)))
