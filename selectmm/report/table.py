"""A comparison as a table: Markdown for the file, the same cells for the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from selectmm.printable import in_markdown, one_line
from selectmm.report.learned import headline, kept_or_taught
from selectmm.report.left_out import left_out
from selectmm.report.margin import measured
from selectmm.report.references import KINDS, Reference, References
from selectmm.report.relative import longest, mean_scores, relative
from selectmm.report.rows import Comparison, Row, format_estimate
from selectmm.report.verdict import answers, rel_margin

LABELS = ("method", "budget", "recipe")
COSTS = ("Rel. %", "selection", "tuning", "total", "share of full", "OSC")
NOTHING = "–"
AT_CHANCE = " †"  # behind a benchmark's name
GAP = 2  # spaces between columns on the screen

_REFERENCE_NAMES = {
    "chance": "chance",
    "majority": "majority",
    "blind": "base, blind",
    "shuffled": "base, shuffled",
    "base": "base",
}


@dataclass(frozen=True)
class Table:
    """Finished text: what stands above, the head, the rows (label cells first), and what stands below.

    ``answers`` are sentences for those who read no further; they stand above too. ``headline``, if there is one, has to
    be read before everything else.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    answers: tuple[str, ...] = ()
    headline: str = ""


def tabulate(comparison: Comparison, references: References, caption: str, notes: Sequence[str]) -> Table:
    """One row per reference that is known, then one per method, budget and recipe; a column per benchmark, then cost.

    Cells are ``mean ± sd (n)`` over n seeds, or ``value [± half the items' 95 % interval]`` of one seed; what is not
    known is ``unknown`` or ``missing``.
    """
    rows = [*_reference_rows(comparison, references), *(_cells(row, comparison) for row in comparison.rows)]
    sentences = [
        *answers(comparison),
        *left_out(comparison),
        *_below_majority(comparison, references),
        *kept_or_taught(comparison, references),
    ]
    columns, first = (*LABELS, *heads(comparison), *COSTS), headline(comparison, references)
    return Table(caption, columns, tuple(rows), tuple(notes), tuple(sentences), first)


def heads(comparison: Comparison) -> list[str]:
    """The benchmarks' names, with a dagger where the full run is at chance."""
    return [name + (AT_CHANCE if name in comparison.chance else "") for name in comparison.benchmarks]


def to_markdown(table: Table) -> str:
    """The table as GitHub reads it; text from records cannot break out of its cell."""
    lines = [_line(table.columns), _line(["---"] * len(LABELS) + ["---:"] * (len(table.columns) - len(LABELS)))]
    lines += [_line(row) for row in table.rows]
    answers, notes = ([f"- {in_markdown(one)}" for one in many] for many in (table.answers, table.notes))
    first = [f"**{in_markdown(table.headline)}**", ""] if table.headline else []
    above = [*first, f"**{in_markdown(table.caption)}**", "", *answers, *([""] if answers else [])]
    return "\n".join([*above, *lines, "", *notes]) + "\n"


def show(table: Table, console: Console) -> None:
    """Print the same cells; columns that do not fit beside each other go into a further block, Rel. and cost last."""
    if table.headline:
        console.print(f"\n{one_line(table.headline)}", style="bold", markup=False, highlight=False)
    console.print(f"\n{one_line(table.caption)}", style="bold", markup=False, highlight=False)
    costs = len(table.columns) - len(COSTS)
    for columns in (range(len(LABELS), costs), range(costs, len(table.columns))):
        for block in _blocks(table, columns, console.width):
            console.print(_grid(table, [*range(len(LABELS)), *block]), "")
    for note in (*table.answers, *table.notes):
        console.print(f"· {one_line(note)}", markup=False, highlight=False)


def format_time(seconds: float) -> str:
    """Device time in the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 120 * 60 else f"{seconds / 3600:.1f} h"


def _cells(row: Row, comparison: Comparison) -> tuple[str, ...]:
    return (
        row.label,
        f"{100 * row.budget:.4g} %",
        row.recipe,
        *(_score(row, name) for name in comparison.benchmarks),
        _rel(row, comparison),
        format_time(row.selection),
        format_time(row.tuning),
        format_time(row.total),
        f"{row.share.mean:.0f} %" if row.share else "unknown",
        format_estimate(row.osc, 2, "unknown"),
    )


def _score(row: Row, benchmark: str) -> str:
    found, estimate = measured(row, benchmark), row.score(benchmark)
    of_one = " (1)" if estimate and estimate.n == 1 < len(row.outcomes) else ""  # the other seeds did not measure it
    if found is None or found.n > 1 or not found.margin:  # where all items agree no interval can be drawn
        return format_estimate(estimate, 1, "missing") + of_one
    return f"{found.mean:.1f} [± {found.margin:.1f}]{of_one}"


def _rel(row: Row, comparison: Comparison) -> str:
    margin = rel_margin(row, comparison)
    return format_estimate(row.rel, 1, "unknown") if not margin else f"{row.rel.mean:.1f} [± {margin:.1f}]"


def _below_majority(comparison: Comparison, references: References) -> list[str]:
    """Which selections score less than the most frequent right answer to each benchmark, given to every question."""
    floor = majority_rel(comparison, references)
    if floor is None:
        return []
    known = [row for row in comparison.rows if row.rel is not None and not row.full]
    below = list(dict.fromkeys(f"{row.label} {100 * row.budget:.4g} %" for row in known if row.rel.mean < floor))
    if not below:
        return []
    return [
        f"Below {floor:.1f} %, which the best constant answer to each benchmark reaches (its most frequent right "
        f"answer): {', '.join(below)}."
    ]


def majority_rel(comparison: Comparison, references: References) -> float | None:
    """Rel. of the best constant answer to each benchmark, in per cent; None if unknown."""
    return _reference_rel(_reference(comparison, references, "majority"), comparison)


def _reference(comparison: Comparison, references: References, kind: str) -> dict[str, float]:
    """What is known of a kind, by benchmark. Records' own chance and majority are of the very items answered."""
    scores = [score for record in comparison.records for score in record.scores]
    own = {s.benchmark: getattr(s, kind) for s in scores} if kind in ("chance", "majority") else {}
    known = {n: getattr(references.get(n, Reference()), kind) for n in comparison.benchmarks}
    known |= {name: value for name, value in own.items() if value is not None}
    return {name: value for name, value in known.items() if value is not None}


def _reference_rel(values: Mapping[str, float], comparison: Comparison) -> float | None:
    return relative(values, mean_scores(longest(comparison.fulls)), comparison.counted)


def _reference_rows(comparison: Comparison, references: References) -> list[tuple[str, ...]]:
    rows = []
    for kind in KINDS:
        values = _reference(comparison, references, kind)
        if values:
            rel = _reference_rel(values, comparison)
            cells = [f"{values[name]:.1f}" if name in values else NOTHING for name in comparison.benchmarks]
            tail = [NOTHING if rel is None else f"{rel:.1f}", *[NOTHING] * (len(COSTS) - 1)]
            rows.append((f"({_REFERENCE_NAMES[kind]})", NOTHING, NOTHING, *cells, *tail))
    return rows


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(in_markdown(cell) for cell in cells) + " |"


def _blocks(table: Table, columns: range, width: int) -> list[list[int]]:
    """Columns split so that each block fits beside the labels."""
    room = width - sum(_width(table, column) for column in range(len(LABELS)))
    blocks: list[list[int]] = []
    left = 0
    for column in columns:
        if not blocks or _width(table, column) > left:
            blocks.append([])
            left = room
        blocks[-1].append(column)
        left -= _width(table, column)
    return blocks


def _width(table: Table, column: int) -> int:
    return GAP + max(len(table.columns[column]), *(len(row[column]) for row in table.rows))


def _grid(table: Table, columns: Sequence[int]) -> Grid:
    grid = Grid(box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for column in columns:
        grid.add_column(
            Text(one_line(table.columns[column])), justify="left" if column < len(LABELS) else "right", no_wrap=True
        )
    for row in table.rows:
        grid.add_row(*(Text(one_line(row[column])) for column in columns))
    return grid
