"""What each method's selection costs, in full forward passes over the pool: a page, from records of two experiments.

Those of `studies/methods` and, once they are there, those of `studies/costs`, which has the methods that the first has
not.

python experiments/studies/method_costs.py [FOLDER]
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import table
from selectmm.cache.stage import write_atomically
from selectmm.records.files import load
from selectmm.records.record import RunRecord

ROOT = Path(__file__).resolve().parents[2]
NAME = "method-costs"
HEAD = "<!-- Made by `python experiments/studies/method_costs.py`; never edited by hand. -->"
SEVERAL, ALONE = "methods", "costs"  # experiments; the records of the second have a folder, as their scores mean little
COLUMNS = ["method", "selection, forward passes", "warm-up", "features", "choosing", "peak memory"]
ONE_PASS = "perplexity"  # reads the answers' logits of every row: one full forward pass and little else


def make(folder: Path, records: Path = ROOT / "results" / "records") -> Path:
    """Write the page under ``folder``; the same records give the same bytes. Returns its path."""
    several, alone = _runs(records, SEVERAL), _runs(records / ALONE, ALONE)
    unit = _selection(several[ONE_PASS])
    found = [row(many, unit) for many in sorted(several.values(), key=_selection)]
    first = several[ONE_PASS][0]
    page = folder / f"{NAME}.md"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(
        page,
        f"{HEAD}\n# {NAME}\n\nOne forward pass is what `{ONE_PASS}` costs: every row through the whole model once, "
        f"{unit:.1f} s here.\nScale: embedded; {first.pool.rows:,} rows. Warm-up, features and choosing are in "
        f"device-seconds.\n\n{table(COLUMNS, found)}\n"
        f"{_where(first)}, except what came from the cache, below\n"
        f"- Measured on: {first.provenance.hardware}\n{_how_often(several)}{_measured_alone(alone)}",
    )
    return page


def _runs(records: Path, experiment: str) -> dict[str, list[RunRecord]]:
    """The records of an experiment by their method's name."""
    runs: dict[str, list[RunRecord]] = {}
    for path in sorted(records.glob(f"{experiment}-*.json")):
        record = load(path)
        runs.setdefault(record.method.name, []).append(record)
    return runs


def _measured_alone(runs: Mapping[str, list[RunRecord]]) -> str:
    """The second table; nothing before its records are there."""
    if not runs:
        return ""
    unit, first = _selection(runs[ONE_PASS]), runs[ONE_PASS][0]
    found = [row(many, unit) for many in sorted(runs.values(), key=_selection) if many[0].method.name != ONE_PASS]
    return (
        f"\n## Measured by themselves\n\nOn {first.pool.rows:,} rows, a fixed draw of the pool, with one seed, and a "
        f"cache for each, so that no feature is another\nmethod's. One forward pass is {unit:.1f} s here. Work that "
        f"does not grow with the pool, such as reading the target\nexamples, weighs more than on all rows.\n\n"
        f"{table(COLUMNS, found)}\n"
        f"{_each(runs)}\n- Measured on: {first.provenance.hardware}\n"
        f"- Not measured: `clip_score`, which needs a CLIP model, and no pip package contains one.\n"
    )


def _where(record: RunRecord) -> str:
    return f"- Command: `{record.provenance.command}`\n- Commit: {str(record.provenance.commit)[:10]}"


def _each(runs: Mapping[str, list[RunRecord]]) -> str:
    """Command and commit of every method, those that share them in one line."""
    made: dict[str, list[str]] = {}
    for name, (first, *_) in sorted(runs.items()):
        made.setdefault(_where(first).replace("\n- Commit:", ", commit"), []).append(name)
    return "\n".join(f"{where}: {', '.join(names)}" for where, names in made.items())


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
    name = records[0].method.name.partition("/")[0]  # self_sup/hard is self_sup with one value of its option
    return [f"`{name}`", f"{_selection(records) / unit:.2f}", *seconds, f"{peak:.1f} GiB"]


def _selection(records: Sequence[RunRecord]) -> float:
    return fmean(record.costs.selection for record in records)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
