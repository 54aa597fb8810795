"""What each method's selection costs, in full forward passes over the pool: a page, from records of `studies/costs`.

python experiments/studies/method_costs.py [FOLDER]
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from selectmm.cache.stage import write_atomically
from selectmm.records.files import load
from selectmm.records.record import RunRecord

ROOT = Path(__file__).resolve().parents[2]
NAME = "method-costs"
HEAD = "<!-- Made by `python experiments/studies/method_costs.py`; never edited by hand. -->"
RECORDS = ROOT / "results" / "records" / "costs"  # a folder of their own: their scores are of four items a benchmark
COLUMNS = ["method", "selection, forward passes", "warm-up", "features", "choosing"]
ONE_PASS = "perplexity"  # reads the answers' logits of every row: one full forward pass and little else


def make(folder: Path, records: Path = RECORDS) -> Path:
    """Write the page under ``folder``; the same records give the same bytes. Returns its path."""
    runs: dict[str, list[RunRecord]] = {}
    for path in sorted(records.glob("costs-*.json")):
        record = load(path)
        runs.setdefault(record.method.name, []).append(record)
    unit, first = _selection(runs[ONE_PASS]), runs[ONE_PASS][0]
    found = [row(many, unit) for many in sorted(runs.values(), key=_selection)]
    opening = (
        f"What does each method's selection cost? Each was measured by itself, with a cache of its own, on "
        f"{first.pool.rows:,} rows, a fixed draw of the built-in pool. One forward pass is what `{ONE_PASS}` costs, "
        f"which reads every row through the whole model once: {unit:.1f} s here{_range(runs[ONE_PASS])}. Work that "
        f"does not grow with the pool, such as reading the target examples, weighs more here than on all rows, and so "
        f"do passes over each distinct image (`prism`), because fewer rows share one. "
        f"Warm-up, features and choosing are in device-seconds.\n"
    )
    closing = (
        f"{_each(runs)}\n- Measured on: {first.provenance.hardware}\n"
        f"- Not measured: `clip_score`, which needs a CLIP model, and no pip package contains one; `vds3`, which needs "
        f"rows with clips.\n"
    )
    page = folder / f"{NAME}.md"
    folder.mkdir(parents=True, exist_ok=True)
    text = f"{HEAD}\n# {NAME}\n\n{flowed(opening)}\n{table(COLUMNS, found)}\n{flowed(closing)}"
    write_atomically(page, text)
    return page


def _range(records: Sequence[RunRecord]) -> str:
    """How far runs of the same work differ: what timing alone does to every figure of the page."""
    if len(records) == 1:
        return ""
    took = sorted(record.costs.selection for record in records)
    return f", the mean of {len(took)} runs ({took[0]:.1f} to {took[-1]:.1f} s)"


def _each(runs: Mapping[str, list[RunRecord]]) -> str:
    """Commands and commit of every method, those that share them in one line."""
    made: dict[str, list[str]] = {}
    for name, records in sorted(runs.items()):
        commands = dict.fromkeys(f"`{r.provenance.command}`" for r in records)
        commits = dict.fromkeys(str(r.provenance.commit)[:10] for r in records)
        made.setdefault(f"- Command: {'; '.join(commands)}, commit {', '.join(commits)}", []).append(name)
    return "\n".join(f"{where}: {', '.join(names)}" for where, names in made.items())


def row(records: Sequence[RunRecord], unit: float) -> list[str]:
    """A method's line, the mean over its runs, its cost as a multiple of ``unit`` seconds."""
    stages = [(r.costs.warmup, r.costs.features, r.costs.select) for r in records]
    seconds = [f"{fmean(stage.device_seconds for stage in same):.1f} s" for same in zip(*stages, strict=True)]
    name = records[0].method.name.partition("/")[0]  # self_sup/hard is self_sup with one value of its option
    return [f"`{name}`", f"{_selection(records) / unit:.2f}", *seconds]


def _selection(records: Sequence[RunRecord]) -> float:
    return fmean(record.costs.selection for record in records)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
