"""A comparison of two runs for the screen."""

from dataclasses import asdict
from typing import Any

from rich.table import Table as Grid

from selectmm.cache.progress import PrintableConsole
from selectmm.records.record import RunRecord
from selectmm.records.summary import summary
from selectmm.statistics.compare import Line, Pair
from selectmm.statistics.paired import RESAMPLES

COLUMNS = ("benchmark", "first", "second", "difference", "95 %", "p", "p (Holm)", "items", "clusters", "verdict")
UNKNOWN = "unknown"


def show(pair: Pair, console: PrintableConsole) -> None:
    """Print both runs, a row per benchmark, and how to read it."""
    for name, record in (("first ", pair.first), ("second", pair.second)):
        console.print(f"{name}  {_description(record)}")
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        grid.add_column(column, justify="left" if column in ("benchmark", "verdict") else "right", no_wrap=True)
    for line in pair.lines:
        grid.add_row(*cells(line))
    console.print(grid)
    for note in notes(pair):
        console.print(f"· {note}")


def as_json(pair: Pair) -> dict[str, Any]:
    """The same as plain objects; ``significant`` is None where it cannot be tested."""
    lines = [
        {**asdict(line), "significant": None if line.within_noise is None else not line.within_noise}
        for line in pair.lines
    ]
    runs = {"first": summary(pair.first), "second": summary(pair.second)}
    return {**runs, "benchmarks": lines, "apart": pair.apart}


def cells(line: Line) -> tuple[str, ...]:
    """The texts under `COLUMNS`."""
    found, shown = line.difference, (line.benchmark, f"{line.first:.1f}", f"{line.second:.1f}")
    difference = f"{line.first - line.second:+.1f}"
    if found is None or line.p is None or line.adjusted is None:
        return (*shown, difference, UNKNOWN, UNKNOWN, UNKNOWN, str(line.items), str(line.clusters or UNKNOWN), UNKNOWN)
    bounds = f"{found.low:+.1f} to {found.high:+.1f}"
    p = f"{line.p:.4f}{'' if line.exact else ' b'}"
    higher = "first is higher" if found.value > 0 else "second is higher"
    verdict = "not significant" if line.within_noise else higher
    return (*shown, difference, bounds, p, f"{line.adjusted:.4f}", str(line.items), str(line.clusters), verdict)


def notes(pair: Pair) -> list[str]:
    """Sentences on how to read the rows, what is unknown, and what else differs."""
    tested = [line for line in pair.lines if line.p is not None]
    lines = [
        f"95 %: percentile bootstrap of the difference, paired over items, {RESAMPLES:,} draws of clusters: items "
        f"that show one picture are drawn together.",
        "p: McNemar's exact test where items are right or wrong and no two show one picture; b: from the bootstrap, "
        "where they are not (F1, points, shares of a match) or do.",
        f"p (Holm): corrected for {len(tested)} benchmarks. A difference is significant if this is at most 0.05 and "
        f"the interval does not contain 0.",
        "This compares two trained models on these items. To compare two methods, run several seeds of each "
        "(selectmm report).",
    ]
    lines += [f"{line.benchmark} is unknown: {line.why}." for line in pair.lines if line.why]
    if pair.apart:
        lines.append(f"Besides what was chosen, the runs differ in {', '.join(pair.apart)}.")
    return lines


def _description(record: RunRecord) -> str:
    run = f"{record.method.name}, budget {record.budget:g}, recipe {record.recipe.name}, seed {record.seed}"
    return f"{run} · suite {record.suite.name} · {record.name}"
