"""What each method's selection costs, in full forward passes over the pool: a page, from the records of `methods`.

python experiments/studies/method_costs.py [FOLDER]
"""

import sys
from pathlib import Path

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
    records = [load(path) for path in sorted((ROOT / "results" / "records").glob("methods-*.json"))]
    by_name = {record.method.name: record for record in records}
    unit = by_name[ONE_PASS].costs.selection
    rows = [row(record, unit) for record in sorted(records, key=lambda record: record.costs.selection)]
    first = records[0].provenance
    page = folder / f"{NAME}.md"
    folder.mkdir(parents=True, exist_ok=True)
    head = ["method", "selection, forward passes", "warm-up", "features", "choosing", "peak memory"]
    write_atomically(
        page,
        f"{HEAD}\n# {NAME}\n\nOne forward pass is what `{ONE_PASS}` costs: every row through the whole model once, "
        f"{unit:.1f} s here.\nScale: embedded; {records[0].pool.rows:,} rows, one seed. Warm-up, features and choosing "
        f"are in device-seconds.\n\n{table(head, rows)}\n"
        f"- Command: `{first.command}`\n- Commit: {str(first.commit)[:10]}\n"
        f"- Measured on: {first.hardware.cores} cores of {first.hardware.cpu}\n",
    )
    return page


def row(record: RunRecord, unit: float) -> list[str]:
    """A method's line, its cost as a multiple of ``unit`` seconds."""
    costs = record.costs
    stages = (costs.warmup, costs.features, costs.select)
    peak = max(stage.peak_gib for stage in stages)
    seconds = [f"{stage.device_seconds:.1f} s" for stage in stages]
    return [f"`{record.method.name}`", f"{costs.selection / unit:.2f}", *seconds, f"{peak:.1f} GiB"]


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
