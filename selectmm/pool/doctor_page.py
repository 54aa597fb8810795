"""The doctor's report, for people and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from selectmm.cache.progress import PrintableConsole
from selectmm.counted import counted
from selectmm.pool.composition import Composition
from selectmm.pool.doctor import UNREAD, Finding
from selectmm.printable import printable

STYLES = {"blocks": "bold red", "look": "yellow", "note": "dim"}


@dataclass(frozen=True)
class Report:
    """What was found in a pool.

    Attributes:
        unread: why its file cannot be read at all; then nothing else is known.
        rows: that can be read.
        counts: rows by source.
    """

    pool: str
    unread: str | None
    rows: int
    images: int
    counts: dict[str, int]
    expected: Composition | None
    findings: list[Finding]

    @property
    def unreadable(self) -> int:
        """How many rows of the file cannot be read."""
        return sum(finding.count for finding in self.findings if finding.name.startswith(UNREAD))

    @property
    def blocked(self) -> bool:
        """Whether a run on this pool would stop."""
        return self.unread is not None or any(finding.weight == "blocks" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The same as plain objects."""
        return {**asdict(self), "blocked": self.blocked}


def show(report: Report, console: PrintableConsole) -> None:
    """Print the report: sources, findings, and what they come to."""
    if report.unread is not None:
        console.print(f"The pool '{report.pool}' cannot be read.\n{report.unread}", style="bold red")
        return
    rows, unreadable = counted(report.rows + report.unreadable, "row"), report.unreadable
    rows += f", {unreadable:,} of them cannot be read" if unreadable else ""
    console.print(f"\n{report.pool}: {rows}, {counted(report.images, 'image')}\n")
    console.print(_sources(report.counts, report.expected))
    console.print(_findings(report.findings) if report.findings else "No problem was found.")
    verdict = (
        "A run on it would stop: see the lines marked 'blocks'." if report.blocked else "Nothing here stops a run."
    )
    console.print(verdict, style="bold")


def _sources(counts: dict[str, int], expected: Composition | None) -> Table:
    table = Table(title="sources", title_justify="left")
    for column in ("source", "rows", *(("expected", "difference", "made of") if expected else ("share",))):
        table.add_column(column, justify="left" if column in ("source", "made of") else "right")
    wanted = expected.expected() if expected else {}
    for name in [*counts, *(name for name in wanted if name not in counts)]:
        rows = counts.get(name, 0)
        if expected is None:
            table.add_row(Text(printable(name)), f"{rows:,}", _share(rows, sum(counts.values())))
            continue
        parts = ", ".join(f"{part} {n:,}" for part, n in expected.sources.get(name, {}).items())
        source, more = Text(printable(name)), wanted.get(name, 0)
        table.add_row(source, f"{rows:,}", f"{more:,}", _difference(rows - more), parts)
    if expected is not None:
        found = sum(counts.values())
        table.add_section()
        table.add_row("all", f"{found:,}", f"{expected.rows:,}", _difference(found - expected.rows), "")
    return table


def _findings(findings: Sequence[Finding]) -> Table:
    table = Table(title="findings", title_justify="left", show_lines=True)
    for column in ("", "what", "count", "share", "first", "what to do"):
        table.add_column(column, justify="right" if column in ("count", "share") else "left", overflow="fold")
    for f in findings:
        share = _share(f.count, f.of)
        # Words of strangers: rich would read brackets in them as its marks, and a terminal obey control characters.
        rows = Text(printable("\n".join(f.examples)))
        table.add_row(f.weight, Text(printable(f.name)), f"{f.count:,}", share, rows, f.advice, style=STYLES[f.weight])
    return table


def _share(count: int, of: int) -> str:
    return f"{count / of:.2%}" if of else "–"


def _difference(by: int) -> str:
    return f"{by:+,}" if by else "0"
