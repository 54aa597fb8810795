"""The time-versus-score plot: what a subset costs beside what it keeps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selectmm.report.labels import Label, place
from selectmm.report.rows import Comparison, Row

# Okabe and Ito's palette, which stays apart under the common colour blindnesses; black and grey are the references'.
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
REFERENCES = {"full": ("#000000", "*"), "random": ("#767676", "o")}
STOPPED_EARLY = 99.0  # per cent of the reference's cost; full is its own reference, up to the seeds' spread
INK, GUIDE = "#555555", "#BDBDBD"
DASHES = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 3))}


@dataclass(frozen=True)
class Point:
    """A row on the plot, all in per cent: cost relative to full, Rel., and their deviations over seeds (or None).

    Points of one ``series`` differ in budget alone; they are joined by a line.
    """

    label: str
    method: str
    series: str
    length: str
    cost: float
    rel: float
    cost_sd: float | None
    rel_sd: float | None


def points(comparison: Comparison) -> list[Point]:
    """The rows whose Rel. and cost are known, in the table's order; what is one run under two recipes is one point.

    If there are several budgets they are in the labels, and the method's name only in its largest budget's.
    """
    measured = [row for row in comparison.rows if row.rel is not None and row.share is not None]
    runs: dict[tuple[object, ...], Row] = {}
    for row in measured:
        runs.setdefault(row.run, row)
    known = list(runs.values())
    largest: dict[str, float] = {}
    for row in known:
        largest[_series(row)] = max(row.budget, largest.get(_series(row), 0.0))
    several = len({row.budget for row in known if not row.full}) > 1
    return [_point(row, several, largest[_series(row)]) for row in known]


def _series(row: Row) -> str:
    return f"{row.label}, {row.recipe}"


def _point(row: Row, several: bool, largest: float) -> Point:
    words = [row.label] if row.full or not several or row.budget == largest else []
    words += [f"{100 * row.budget:.4g} %"] if several and not row.full else []
    words += ["stopped early"] if row.full and row.share.mean < STOPPED_EARLY else []
    spread = row.share.sd, row.rel.sd
    return Point(" ".join(words), row.method, _series(row), row.length, row.share.mean, row.rel.mean, *spread)


def pareto(cost_rel: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, Rel.) pairs that no other beats in both, cheapest first; of equal pairs the first."""
    order = sorted(range(len(cost_rel)), key=lambda i: (cost_rel[i][0], -cost_rel[i][1], i))
    front: list[int] = []
    for index in order:
        if not front or cost_rel[index][1] > cost_rel[front[-1]][1]:
            front.append(index)
    return front


def draw(comparison: Comparison) -> Figure:
    """The plot; an empty one says what is missing."""
    # Not through pyplot: no global state, no window system.
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    found = points(comparison)
    _frame(axes, comparison)
    if not found:
        axes.text(0.5, 0.5, "no run with a known Rel. and cost", ha="center", transform=axes.transAxes)
        return figure
    _front(axes, found)
    styles = [_style(point.method, [other.method for other in found]) for point in found]
    for series, colour in {point.series: colour for point, (colour, _) in zip(found, styles, strict=True)}.items():
        _join(axes, [point for point in found if point.series == series], colour)
    for point, (colour, marker) in zip(found, styles, strict=True):
        _mark(axes, point, colour, marker)
    _legend(axes, found)
    _limits(axes, found)
    place(figure, axes, [_label(point, colour) for point, (colour, _) in zip(found, styles, strict=True)])
    return figure


def save_picture(comparison: Comparison, folder: Path, name: str) -> tuple[Path, Path]:
    """Write ``<name>.svg`` and ``<name>.png``; the same comparison gives the same bytes.

    Returns:
        The paths of the SVG and the PNG.
    """
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    with rc_context({"svg.hashsalt": "selectmm", "font.family": "DejaVu Sans", "font.size": 11}):
        figure = draw(comparison)
        figure.savefig(svg, metadata={"Date": None})
        figure.savefig(png, dpi=160, metadata={"Software": None})
    return svg, png


def _style(method: str, methods: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of a method; both tell it apart, so that the picture survives black and white print."""
    if method in REFERENCES:
        return REFERENCES[method]
    others = [name for name in dict.fromkeys(methods) if name not in REFERENCES]
    position = others.index(method)
    return PALETTE[position % len(PALETTE)], MARKERS[(1 + position) % len(MARKERS)]


def _frame(axes: Axes, comparison: Comparison) -> None:
    first = comparison.records[0]
    axes.set_title(
        f"What does a subset cost, and what does it keep?\n{first.experiment} · {first.scale} scale",
        loc="left",
        fontsize=13,
    )
    axes.set_xlabel("cost of selection + tuning (% of tuning on the full pool)")
    many = "1 benchmark" if len(comparison.counted) == 1 else f"{len(comparison.counted)} benchmarks"
    axes.set_ylabel(f"Rel.: mean score (% of full, {many})")
    axes.spines[["top", "right"]].set_visible(False)
    for line in (axes.axhline, axes.axvline):
        line(100, color=GUIDE, linewidth=0.8, zorder=0)


def _label(point: Point, colour: str) -> Label:
    return Label(point.label, point.cost, point.rel, point.cost_sd or 0.0, point.rel_sd or 0.0, colour)


def _front(axes: Axes, found: Sequence[Point]) -> None:
    front = [found[i] for i in pareto([(point.cost, point.rel) for point in found])]
    axes.plot([p.cost for p in front], [p.rel for p in front], zorder=1, **DASHES)


def _join(axes: Axes, series: Sequence[Point], colour: str) -> None:
    axes.plot([p.cost for p in series], [p.rel for p in series], color=colour, linewidth=0.9, alpha=0.6, zorder=2)


def _mark(axes: Axes, point: Point, colour: str, marker: str) -> None:
    axes.errorbar(
        point.cost,
        point.rel,
        xerr=point.cost_sd,
        yerr=point.rel_sd,
        color=colour,
        marker=marker,
        markersize=13 if marker == "*" else 8,
        markerfacecolor="white" if point.length == "steps" else colour,
        markeredgewidth=1.6,
        elinewidth=1.2,
        zorder=3,
    )


def _legend(axes: Axes, found: Sequence[Point]) -> None:
    """Only what direct labels cannot say: filled, hollow, bars and the front."""
    dot = {"color": INK, "markersize": 7, "markeredgewidth": 1.4, "marker": "o", "linestyle": ""}
    entries = []
    if any(point.length == "steps" for point in found):
        entries.append(Line2D([], [], label="passes over the subset (recipe.length: epochs)", **dot))
        entries.append(Line2D([], [], label="a number of steps (recipe.length: steps)", markerfacecolor="white", **dot))
    entries.append(Line2D([], [], label="Pareto front", **DASHES))
    if any(point.rel_sd is not None for point in found):
        entries.append(Line2D([], [], label="± sd over seeds", color=INK, marker="|", markersize=9, linestyle=""))
    axes.figure.legend(handles=entries, loc="outside lower left", ncols=2, frameon=False, fontsize=9)


def _limits(axes: Axes, found: Sequence[Point]) -> None:
    """Room for labels: cost starts at 0, Rel. ends a little beyond what was measured."""
    low = min(point.rel - (point.rel_sd or 0) for point in found)
    high = max(100.0, *(point.rel + (point.rel_sd or 0) for point in found))
    room = max(1.0, 0.12 * (high - low))
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(0, 1.15 * max(100.0, *(point.cost + (point.cost_sd or 0) for point in found)))
