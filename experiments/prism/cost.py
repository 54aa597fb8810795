"""What each selection costs beside what it saves, and what is left of the score (PRISM's OSC): from prism/main's runs.

python experiments/prism/cost.py [FOLDER]
"""

import sys
from functools import partial
from pathlib import Path
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import table
from selectmm.records.files import load
from selectmm.records.stage import write_atomically
from selectmm.report.pictures import blank, keep
from selectmm.report.references import references_for
from selectmm.report.rows import Comparison, Row, compare, format_estimate
from selectmm.report.table import format_time

ROOT = Path(__file__).resolve().parents[2]
NAME = "prism-cost"
HEAD = "<!-- Made by `python experiments/prism/cost.py`; never edited by hand. -->"
PARTS = {"warmup": "#CC79A7", "features": "#E69F00", "select": "#D55E00", "finetune": "#0072B2"}
CALLED = {"warmup": "warm-up", "features": "features", "select": "choosing", "finetune": "tuning"}


def make(folder: Path) -> Path:
    """Write the page and its picture under ``folder``; the same records give the same bytes. Returns the page."""
    records = [load(path) for path in sorted((ROOT / "results" / "records").glob("prism_main-*.json"))]
    comparison = compare(records, references_for(ROOT / "results" / "references" / "mini.json", records))
    rows = sorted(comparison.rows, key=lambda row: row.total)
    folder.mkdir(parents=True, exist_ok=True)
    keep(partial(draw, rows), folder, NAME)
    page = folder / f"{NAME}.md"
    write_atomically(page, "\n".join([HEAD, f"# {NAME}\n", _opening(rows), _costs(rows), _how(comparison)]))
    return page


def spent(row: Row, part: str) -> float:
    """Mean device-seconds of a stage over the seeds."""
    return fmean(getattr(outcome.record.costs, part).device_seconds for outcome in row.outcomes)


def _opening(rows: list[Row]) -> str:
    gains = [row.label for row in rows if not row.full and row.osc is not None and row.osc.mean < 1]
    dearer = [row.label for row in rows if not row.full and row.share is not None and row.share.mean > 100]
    return (
        "OSC = (P_full / P_sub) · (T_select + T_tune) / T_tune_full, PRISM's; a method gains below 1.\n\n"
        f"- Below 1 here: {', '.join(gains) or 'none'}.\n"
        f"- Choosing and tuning together cost more than tuning on everything: {', '.join(dearer) or 'none'}.\n"
        "- PRISM's own timings could not be read by us: *unknown*.\n\n"
        f"![Seconds of each stage, method by method]({NAME}.svg)\n"
    )


def _costs(rows: list[Row]) -> str:
    head = ["method", "budget", *CALLED.values(), "total", "share of full", "Rel. %", "OSC"]
    return table(head, [
        [
            row.label, f"{100 * row.budget:.4g} %", *(format_time(spent(row, part)) for part in PARTS),
            format_time(row.total), f"{row.share.mean:.0f} %" if row.share else "unknown",
            format_estimate(row.rel, 1, "unknown"), format_estimate(row.osc, 2, "unknown"),
        ]
        for row in rows
    ])  # fmt: skip


def _how(comparison: Comparison) -> str:
    first = comparison.records[0]
    commits = ", ".join(sorted({str(record.provenance.commit)[:10] for record in comparison.records}))
    seeds, machine = len({record.seed for record in comparison.records}), first.provenance.hardware
    return (
        f"- Scale: {first.scale}; mean over {seeds} seeds, seconds × devices. A model of another size has another\n"
        f"  ratio of choosing to tuning: these are not the costs of a 7B run.\n"
        f"- From the records of `{first.provenance.command}`, commit {commits}.\n"
        f"- Measured on: {machine}.\n"
    )


def draw(rows: list[Row]) -> Figure:
    """Bars of every stage's time, a dashed line where the full run ends."""
    figure = blank()
    axes = figure.add_subplot()
    _bars(axes, rows)
    first = rows[0].outcomes[0].record
    axes.set_title(
        f"What does choosing cost beside what it saves?\n{first.experiment} · {first.scale} scale",
        loc="left",
        fontsize=13,
    )
    axes.set_xlabel("minutes × devices")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="upper right", frameon=False)
    return figure


def _bars(axes: Axes, rows: list[Row]) -> None:
    places = list(range(len(rows)))[::-1]
    left = [0.0] * len(rows)
    most = max(row.total for row in rows)
    for part, colour in PARTS.items():
        wide = [spent(row, part) / 60 for row in rows]
        seen = 60 * max(wide) > 0.002 * most  # the legend names no colour that nobody can see
        axes.barh(places, wide, left=left, color=colour, label=CALLED[part] if seen else None, height=0.65)
        left = [start + more for start, more in zip(left, wide, strict=True)]
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # where a label crosses the line of full
    for place, end, row in zip(places, left, rows, strict=True):
        told = "" if row.full or row.osc is None else f"OSC {row.osc.mean:.2f}"
        axes.annotate(told, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=9, bbox=box)
    axes.set_xlim(0, 1.12 * max(left))
    full = next(row.total for row in rows if row.full)
    dashes = {"color": "#555555", "linewidth": 1, "linestyle": (0, (4, 3))}
    axes.axvline(full / 60, zorder=0, label="tuning on everything", **dashes)
    axes.set_yticks(places, [row.label for row in rows])


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
