"""The picture of many methods: one line each, what it keeps and what it costs, the best on top."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectmm.report.colours import style_of
from selectmm.report.labels import shortened
from selectmm.report.marks import DOTS, legend_of, marker_of
from selectmm.report.pictures import blank
from selectmm.report.points import Point
from selectmm.report.rows import Comparison

GUIDE, RANDOM = "#BDBDBD", "random"
BAR = 0.45  # of a line's height


def draw(comparison: Comparison, found: Sequence[Point], floor: float | None, mark: str) -> Figure:
    """Two panels with a line for each point: Rel. with its bar, and cost.

    Args:
        floor: Rel. of the most frequent answer alone, in per cent; None if it is not known.
        mark: with a point's number, the name of its marker in the SVG.
    """
    figure = blank(8, 1.7 + 0.24 * len(found))
    kept, paid = figure.subplots(1, 2, sharey=True, width_ratios=(5, 2))
    named = f"{shortened(comparison.experiment)} · {comparison.records[0].scale} scale"
    title = f"What does a subset keep, and what does it cost?\n{named}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, parse_math=False)
    ordered = sorted(range(len(found)), key=lambda number: (found[number].rel, -number))  # the lowest is at the bottom
    for line, number in enumerate(ordered):
        _line(kept, paid, line, found[number], f"{mark}{number}")
    for point in found:
        if point.method == RANDOM:
            kept.axvline(point.rel, color=style_of(RANDOM).colour, linewidth=1.0, zorder=0)
    if floor is not None:
        kept.axvline(floor, zorder=0, **DOTS)
    kept.axvline(100, color=GUIDE, linewidth=0.8, zorder=0)
    paid.axvline(100, color=GUIDE, linewidth=0.8, zorder=0)
    kept.set_yticks(range(len(ordered)), [shortened(found[number].label) for number in ordered])
    for text in kept.get_yticklabels():
        text.set(fontsize=9, parse_math=False)
    kept.set_ylim(-0.7, len(ordered) - 0.3)
    many = "1 benchmark" if len(comparison.counted) == 1 else f"{len(comparison.counted)} benchmarks"
    kept.set_xlabel(f"Rel.: mean of score / full's (%, {many})", fontsize=10)
    paid.set_xlabel("selection + tuning\n(% of tuning on the full pool)", fontsize=10)
    paid.set_xlim(left=0)
    for axes in (kept, paid):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=9)
    draws = any(point.method == RANDOM for point in found)
    random = [Line2D([], [], label="a random draw", color=style_of(RANDOM).colour, linewidth=1.0)] if draws else []
    entries = legend_of(found, floor, random, "_")
    figure.legend(handles=entries, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    return figure


def _line(kept: Axes, paid: Axes, line: int, point: Point, name: str) -> None:
    colour = style_of(point.method).colour
    width = 1.4 if point.rel_items is None else 0.7  # of one seed: thinner, it says less
    kept.errorbar(point.rel, line, xerr=point.reach or None, fmt="none", ecolor=colour, elinewidth=width, zorder=2)
    kept.plot(point.rel, line, **marker_of(point), zorder=3, gid=name)
    paid.barh(line, point.cost, BAR, color=colour)
