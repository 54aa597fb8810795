"""What each method's selection costs, in full forward passes over the pool: a page, from records of `studies/costs`.

python experiments/studies/method_costs.py [FOLDER]
"""

import sys
from collections.abc import Mapping
from pathlib import Path

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import table
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.records.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
NAME = "method-costs"
HEAD = "<!-- Made by `python experiments/studies/method_costs.py`; never edited by hand. -->"
COLUMNS = ["method", "selection, forward passes", "warm-up", "features", "choosing", "peak memory"]
ONE_PASS = "perplexity"  # reads the answers' logits of every row: one full forward pass and little else


def make(folder: Path, records: Path = ROOT / "results" / "records" / "costs") -> Path:
    """Write the page under ``folder``; the same records give the same bytes. Returns its path."""
    runs = {record.method.name: record for record in map(load, sorted(records.glob("costs-*.json")))}
    unit, first = runs[ONE_PASS].costs.selection, runs[ONE_PASS]
    found = [row(record, unit) for record in sorted(runs.values(), key=lambda record: record.costs.selection)]
    page = folder / f"{NAME}.md"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        page,
        f"{HEAD}\n# {NAME}\n\nEach method was measured by itself on {first.pool.rows:,} rows, a fixed draw of the "
        f"built-in pool, with one seed and a cache\nof its own, so that no feature was computed for another method. "
        f"One forward pass is what `{ONE_PASS}` costs:\nevery row through the whole model once, {unit:.1f} s here. "
        f"Warm-up, features and choosing are in device-seconds. Work\nthat does not grow with the pool, such as "
        f"reading the target examples, weighs more than on all rows.\n\n{table(COLUMNS, found)}\n{_each(runs)}\n"
        f"- Measured on: {first.provenance.hardware}\n"
        f"- Each figure is one measurement; some tens of per cent are what timing alone does.\n"
        f"- Not measured: `clip_score`, which needs a CLIP model, and no pip package contains one.\n",
    )
    return page


def _each(runs: Mapping[str, RunRecord]) -> str:
    """Command and commit of every method, those that share them in one line."""
    made: dict[str, list[str]] = {}
    for name, record in sorted(runs.items()):
        where = f"- Command: `{record.provenance.command}`, commit {str(record.provenance.commit)[:10]}"
        made.setdefault(where, []).append(name)
    return "\n".join(f"{where}: {', '.join(names)}" for where, names in made.items())


def row(record: RunRecord, unit: float) -> list[str]:
    """A method's line, its cost as a multiple of ``unit`` seconds."""
    stages = record.costs.warmup, record.costs.features, record.costs.select
    peak = max(stage.peak_gib for stage in stages)
    seconds = [f"{stage.device_seconds:.1f} s" for stage in stages]
    name = record.method.name.partition("/")[0]  # self_sup/hard is self_sup with one value of its option
    return [f"`{name}`", f"{record.costs.selection / unit:.2f}", *seconds, f"{peak:.1f} GiB"]


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
