"""The points of the time-versus-score plot, their Pareto front, and the same as a table of numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from selectmm.report.rows import Comparison, Row
from selectmm.report.verdict import rel_margin

STOPPED_EARLY = 99.0  # per cent of the reference's cost; full is its own reference, up to the seeds' spread
COST, REL = "cost (% of full)", "Rel (% of full)"
COLUMNS = ("run", "method", "budget %", "recipe", "seeds", COST, "cost sd", REL, "Rel sd", "on the front")


@dataclass(frozen=True)
class Point:
    """A row on the plot, all in per cent: cost relative to full, Rel., and their deviations over seeds (or None).

    ``rel_items`` is half the 95 % interval of one seed's Rel. over items (None with more seeds, see `rel_margin`).

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
    rel_items: float | None

    @property
    def reach(self) -> float:
        """How far the bar of Rel. goes to either side."""
        return self.rel_sd or self.rel_items or 0.0


def points(comparison: Comparison) -> list[Point]:
    """The rows whose Rel. and cost are known, in the table's order; what is one run is one point, under all its names.

    If there are several budgets they are in the labels, and the method's name only in its largest budget's. Recipes are
    in the labels where two points of one name would look alike.
    """
    known = _known(comparison)
    largest: dict[str, float] = {}
    for row in known:
        largest[_series(row)] = max(row.budget, largest.get(_series(row), 0.0))
    several = len({row.budget for row in known if not row.full}) > 1
    same: dict[tuple[object, ...], list[Row]] = {}
    for row in known:
        same.setdefault((row.budget, row.trained, round(row.share.mean)), []).append(row)
    recipes: dict[tuple[str, str], set[str]] = {}
    for first, *_ in same.values():
        recipes.setdefault(_looks(first), set()).add(first.recipe)
    return [
        _point(rows, comparison, several, largest[_series(rows[0])], len(recipes[_looks(rows[0])]) > 1)
        for rows in same.values()
    ]


def pareto(cost_rel: Sequence[tuple[float, float]]) -> list[int]:
    """Positions of the (cost, Rel.) pairs that no other beats in both, cheapest first; of equal pairs the first."""
    order = sorted(range(len(cost_rel)), key=lambda i: (cost_rel[i][0], -cost_rel[i][1], i))
    front: list[int] = []
    for index in order:
        if not front or cost_rel[index][1] > cost_rel[front[-1]][1]:
            front.append(index)
    return front


def cells(comparison: Comparison) -> list[tuple[object, ...]]:
    """The points as rows of numbers under `COLUMNS`, for those who draw or sort them themselves."""
    known = _known(comparison)
    front = set(pareto([(row.share.mean, row.rel.mean) for row in known]))
    return [
        (
            row.label, row.method, 100 * row.budget, row.recipe, row.rel.n,
            row.share.mean, row.share.sd, row.rel.mean, row.rel.sd, number in front,
        )
        for number, row in enumerate(known)
    ]  # fmt: skip


def _known(comparison: Comparison) -> list[Row]:
    runs: dict[tuple[object, ...], Row] = {}
    for row in comparison.rows:
        if row.rel is not None and row.share is not None:
            runs.setdefault(row.run, row)
    return list(runs.values())


def _series(row: Row) -> str:
    return f"{row.label}, {row.recipe}"


def _looks(row: Row) -> tuple[str, str]:
    """What a point of the row shows without its recipe's name: its name, and whether it is filled."""
    return row.label, row.length


def _point(same: Sequence[Row], comparison: Comparison, several: bool, largest: float, alike: bool) -> Point:
    row = same[0]
    words = [" = ".join(one.label for one in same)] if row.full or not several or row.budget == largest else []
    words += [f"({row.recipe})"] if words and alike and not row.full else []
    words += [f"{100 * row.budget:.4g} %"] if several and not row.full else []
    words += ["stopped early"] if row.full and row.share.mean < STOPPED_EARLY else []
    spread = row.share.sd, row.rel.sd, rel_margin(row, comparison)
    return Point(" ".join(words), row.method, _series(row), row.length, row.share.mean, row.rel.mean, *spread)
