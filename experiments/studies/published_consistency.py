"""Which printed numbers of the papers follow from the other cells of their own tables? A page, from scores.csv alone.

python experiments/studies/published_consistency.py [FOLDER]
"""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import UNKNOWN, flowed, signed, table
from selectmm.cache.stage import write_atomically
from selectmm.report.published import REL, Printed, read_printed
from selectmm.report.relative import relative

ROOT = Path(__file__).resolve().parents[2]
NAME = "published-consistency"
HEAD = "<!-- Made by `python experiments/studies/published_consistency.py`; never edited by hand. -->"

Rule = Callable[[Mapping[str, float], Mapping[str, float]], float | None]
"""A row's number from its own cells and the full row's; None if cells are missing."""


@dataclass(frozen=True)
class Check:
    """A number that a table prints, what it should follow from, and how far rounding may carry it.

    Attributes:
        number: the column that is checked.
        cells: how many cells of a row the paper averages or adds, whether or not we could read them.
        base: the row that others are a share of.
    """

    paper: str
    table: str
    number: str
    rule: str
    cells: int
    tolerance: float
    base: str = "full"


RATIOS = "mean over benchmarks of score / full's score"
OWN_RATIOS = "mean over benchmarks of score / prism's score"
CHECKS = (
    Check("ICONS", "main", REL, RATIOS, 10, 0.1),
    Check("MCL", "T1", REL, RATIOS, 8, 0.1),
    Check("DICS", "25%", REL, RATIOS, 12, 0.1),
    Check("DICS", "25%", REL, "mean score / full's mean score", 12, 0.1),
    Check("DICS", "T9", REL, RATIOS, 12, 0.1),
    Check("DICS", "T9", REL, "mean score / full's mean score", 12, 0.1),
    Check("DICS", "T11", REL, RATIOS, 12, 0.1),
    Check("DICS", "T11", REL, "mean score / full's mean score", 12, 0.1),
    Check("MAGIC", "T2", REL, RATIOS, 9, 0.1),
    Check("MAGIC", "T3", REL, RATIOS, 9, 0.1),
    Check("MAGIC", "T4", REL, RATIOS, 8, 0.1),
    Check("PRISM", "main", REL, RATIOS, 11, 0.1),
    Check("PRISM", "visionflan", REL, RATIOS, 6, 0.1),
    Check("PRISM", "ablations", REL, OWN_RATIOS, 11, 0.1, base="prism"),
    Check("ScalSelect", "T1", REL, RATIOS, 9, 0.1),
    Check("DataProphet", "T3", "average", "mean over the fourteen sets", 14, 0.1),
    Check("MAGIC", "cost", "end_to_end_gpu_h", "selection + tuning", 2, 0.5),
    Check("PRISM", "composition", "total", "sum over sources", 10, 0.5),
    Check("LLaVA-1.5", "composition", "total", "sum over sources", 12, 0.5),
)


def ratios(row: Mapping[str, float], full: Mapping[str, float]) -> float | None:
    """`Rel.` by its one definition."""
    return relative(row, full, [name for name in full if name in row])


def ratio_of_means(row: Mapping[str, float], full: Mapping[str, float]) -> float | None:
    """The other reading of a relative score: benchmarks with large numbers then weigh more."""
    shared = [name for name in full if name in row]
    return 100 * fmean(row[n] for n in shared) / fmean(full[n] for n in shared) if shared else None


RULES: dict[str, Rule] = {
    RATIOS: ratios,
    OWN_RATIOS: ratios,
    "mean score / full's mean score": ratio_of_means,
    "mean over the fourteen sets": lambda row, full: fmean(row.values()),
    "selection + tuning": lambda row, full: row.get("selection_gpu_h", 0.0) + row["tune_gpu_h"],
    "sum over sources": lambda row, full: sum(row.values()),
}


def lines(check: Check, printed: Sequence[Printed]) -> list[list[str]]:
    """A line per printed number: as printed, recomputed, difference, verdict."""
    full = next((_cells(check, row.values) for row in printed if row.method == check.base), {})
    found = []
    for row in printed:
        if check.number in row.values and not (row.method == check.base and check.number == REL):
            found.append(_line(check, row, full))
    return found


def _line(check: Check, row: Printed, full: Mapping[str, float]) -> list[str]:
    cells, value = _cells(check, row.values), row.values[check.number]
    shared = [name for name in cells if name in full] if check.number == REL else list(cells)
    name = f"{row.method} ({row.samples})" if row.samples else row.method
    found = RULES[check.rule](cells, full) if shared else None
    if found is None or len(shared) < check.cells:
        partial = UNKNOWN if found is None else f"({found:.2f})"
        return [
            name,
            f"{value:g}",
            partial,
            "–",
            f"*cannot be told*: {len(shared)} of {check.cells} cells are readable",
        ]
    off = found - value
    verdict = "follows" if abs(off) <= check.tolerance else "**does not follow**"
    return [name, f"{value:g}", f"{found:.2f}", signed(off), verdict]


def _cells(check: Check, values: Mapping[str, float]) -> dict[str, float]:
    """The cells that a number is made of."""
    return {name: value for name, value in values.items() if name not in {check.number, REL}}


def page() -> str:
    """The whole page as Markdown."""
    sections, counts = [], []
    for check in CHECKS:
        found = lines(check, read_printed(check.paper, check.table))
        verdicts = [line[-1] for line in found]
        counts.append(_count(check, verdicts))
        title = f"## {check.paper}, {check.table}: `{check.number}` = {check.rule}"
        sections.append(f"{title}\n\n{table(['row', 'printed', 'recomputed', 'difference', ''], found)}")
    summary = table(["paper, table", "number", "as", "follow", "do not", "cannot be told"], counts)
    return flowed("\n".join([f"{HEAD}\n# {NAME}\n\n{TEXT}\n\n{summary}", *sections]))


TEXT = """Numbers that a paper's table makes of its own cells, made again from `results/published/scores.csv`. A number
follows if it comes out within what two printed digits can hide (0.1 points, half an hour, half a row). In brackets:
from the readable cells alone, where some are not; that decides nothing.

What stands out: **DICS divides mean scores, it does not average ratios**, in all three of its tables. Its `Rel.` is
another quantity than that of ICONS, MAGIC, MCL and ours, under the same name. By ratios, its own T9 would have
CLIP-Score above PRISM and above full training; as printed, CLIP-Score is below both."""


def _count(check: Check, verdicts: Iterable[str]) -> list[str]:
    found = list(verdicts)
    follow, not_follow = found.count("follows"), found.count("**does not follow**")
    name = f"{check.paper}, {check.table}"
    return [name, f"`{check.number}`", check.rule, str(follow), str(not_follow), str(len(found) - follow - not_follow)]


def make(folder: Path) -> Path:
    """Write the page under ``folder`` and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}.md"
    write_atomically(path, page())
    return path


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
