"""What each method's selection costs, in full forward passes over the pool: a page, from the records of `methods`.

python experiments/studies/method_costs.py [FOLDER]
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import table
from selectmm.records.record import RunRecord, load
from selectmm.records.stage import write_atomically

ROOT = Path(__file__).resolve().parents[2]
NAME = "method-costs"
HEAD = "<!-- Made by `python experiments/studies/method_costs.py`; never edited by hand. -->"
ONE_PASS = "perplexity"  # reads the answers' logits of every row: one full forward pass and little else


def make(folder: Path) -> Path:
    """Write the page under ``folder``; the same records give the same bytes. Returns its path."""
    runs: dict[str, list[RunRecord]] = {}
    for path in sorted((ROOT / "results" / "records").glob("methods-*.json")):
        record = load(path)
        runs.setdefault(record.method.name, []).append(record)
    unit = _selection(runs[ONE_PASS])
    rows = [row(many, unit) for many in sorted(runs.values(), key=_selection)]
    records = runs[ONE_PASS]
    first = records[0].provenance
    page = folder / f"{NAME}.md"
    folder.mkdir(parents=True, exist_ok=True)
    head = ["method", "selection, forward passes", "warm-up", "features", "choosing", "peak memory"]
    write_atomically(
        page,
        f"{HEAD}\n# {NAME}\n\nOne forward pass is what `{ONE_PASS}` costs: every row through the whole model once, "
        f"{unit:.1f} s here.\nScale: embedded; {records[0].pool.rows:,} rows. Warm-up, features and choosing are in "
        f"device-seconds.\n\n{table(head, rows)}\n"
        f"- Command: `{first.command}`\n- Commit: {str(first.commit)[:10]}, except what came from the cache, below\n"
        f"- Measured on: {first.hardware}\n{_how_often(runs)}",
    )
    return page


def _how_often(runs: Mapping[str, list[RunRecord]]) -> str:
    """How sure a figure is: seeds share a feature that does not depend on them, so most are one measurement."""
    timed = {name: {r.costs.features.device_seconds for r in many} for name, many in runs.items()}
    several = {name: seconds for name, seconds in timed.items() if len(seconds) > 1}
    spread = ", ".join(f"{name} ({min(s):.0f} to {max(s):.0f} s)" for name, s in sorted(several.items()))
    cached = sorted(n for n, many in runs.items() if all(r.costs.features.cached for r in many) and max(timed[n]) > 0)
    return (
        f"- Features were timed once for all seeds, except those of {spread}: some tens of per cent are what timing\n"
        f"  alone does.\n"
        f"- Features from the cache, timed when an earlier sweep computed them: {', '.join(cached)}.\n"
    )


def row(records: Sequence[RunRecord], unit: float) -> list[str]:
    """A method's line, the mean over its seeds, its cost as a multiple of ``unit`` seconds."""
    stages = [(r.costs.warmup, r.costs.features, r.costs.select) for r in records]
    peak = max(stage.peak_gib for some in stages for stage in some)
    seconds = [f"{fmean(stage.device_seconds for stage in same):.1f} s" for same in zip(*stages, strict=True)]
    return [f"`{records[0].method.name}`", f"{_selection(records) / unit:.2f}", *seconds, f"{peak:.1f} GiB"]


def _selection(records: Sequence[RunRecord]) -> float:
    return fmean(record.costs.selection for record in records)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
