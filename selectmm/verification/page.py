"""Verdicts for the screen."""

from rich.table import Table as Grid

from selectmm.cache.progress import PrintableConsole
from selectmm.verification.verdicts import Verdict
from selectmm.verification.verify import Verification

COLUMNS = ("benchmark", "ours", "released", "difference", "band", "verdict")
UNKNOWN = "unknown"


def show(found: Verification, console: PrintableConsole) -> None:
    """Print the verdicts, how many of each there are, and what the scores depend on."""
    console.print(f"Against {found.released} ({found.source})")
    grid = Grid(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        grid.add_column(column, justify="left" if column in ("benchmark", "verdict") else "right")
    for verdict in found.verdicts:
        grid.add_row(*cells(verdict))
    console.print(grid)
    for note in notes(found):
        console.print(f"· {note}")


def cells(verdict: Verdict) -> tuple[str, ...]:
    """The texts under `COLUMNS`."""
    known = verdict.ours is not None and verdict.released is not None
    return (
        verdict.benchmark,
        UNKNOWN if verdict.ours is None else f"{verdict.ours:.1f}",
        UNKNOWN if verdict.released is None else f"{verdict.released:.1f}",
        f"{verdict.ours - verdict.released:+.1f}" if known else UNKNOWN,
        UNKNOWN if verdict.margin is None else f"± {verdict.margin:.1f}",
        verdict.answer,
    )


def notes(found: Verification) -> list[str]:
    """The sum of the verdicts and the evaluator in short; the file has all of it."""
    counts = [f"{sum(v.answer == kind for v in found.verdicts)} {kind}" for kind in ("inside", "outside", "unknown")]
    generation = [entry["generation"] for entry in found.evaluator.values()]
    kinds = {key: sorted({str(g[key]) for g in generation if key in g}) for key in ("batch_size", "dtype", "padding")}
    reasons: dict[str, list[str]] = {}
    for verdict in found.verdicts:
        reasons.setdefault(verdict.why, []).append(verdict.benchmark)
    lines = [
        f"{', '.join(counts)}. A correct evaluator is inside every band that is known.",
        f"Evaluator: {', '.join(sorted({str(entry['harness']) for entry in found.evaluator.values()}))}; "
        + "; ".join(f"{key.replace('_', ' ')} {', '.join(values)}" for key, values in kinds.items() if values),
        *(f"{', '.join(names)}: {why}." for why, names in reasons.items()),
    ]
    if found.changed:
        lines.append(f"Prompts are others than when these scores were recorded: {', '.join(found.changed)}.")
    return lines
