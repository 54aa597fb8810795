"""Selection during training beside selection before it, at equal steps and at equal cost: from studies/dynamic's runs.

python experiments/studies/dynamic.py [FOLDER]
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import t as student

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, signed, table
from experiments.complete import check_rel
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.colours import style_of
from selectmm.report.pictures import blank, keep
from selectmm.report.references import references_for
from selectmm.report.relative import relative, scores_of
from selectmm.report.rows import Comparison, Row, compare, format_estimate
from selectmm.report.table import format_time

ROOT = Path(__file__).resolve().parents[2]
NAME, SHORT = "dynamic-training", "embedded_short"
HEAD = "<!-- Made by `python experiments/studies/dynamic.py`; never edited by hand. -->"
LONGER = "random, trained for longer"
DEARER, CHEAPER, PARTLY = "dearer than any", "cheaper than any", "not measured for every seed"


@dataclass(frozen=True)
class Difference:
    """Mean of differences between runs of the same seed, and half its 95 % interval (Student's t over the seeds)."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Difference":
        """Of one value per seed; the half is NaN with one seed."""
        many = len(values)
        half = student.ppf(0.975, many - 1) * stdev(values) / many**0.5 if many > 1 else float("nan")
        return cls(fmean(values), float(half))

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        return f"{signed(self.mean)} ± {self.half:.1f}" if self.half == self.half else f"{signed(self.mean)} (one seed)"


def make(folder: Path, records: Sequence[RunRecord] | None = None) -> Path:
    """Write the page and its picture under ``folder``; the same records give the same bytes. Returns the page.

    Raises:
        UserError: runs or scores are missing without which nothing can be compared.
    """
    if records is None:
        records = [load(path) for path in sorted((ROOT / "results" / "records").glob("dynamic-*.json"))]
    if not any(record.method.name == "full" for record in records) or not _random(records):
        raise UserError("There are no runs of full and random to compare with; run experiments=studies/dynamic_cost.")
    references = references_for(ROOT / "results" / "references" / "mini.json", records)
    comparison = compare(records, references)
    check_rel(comparison)
    arms = [row for row in comparison.rows if row.recipe == SHORT and not row.full]
    folder.mkdir(parents=True, exist_ok=True)
    keep(partial(draw, comparison, arms), folder, NAME)
    page = folder / f"{NAME}.md"
    parts = [HEAD, f"# {NAME}\n", _opening(comparison, arms), _steps(comparison, arms), _visits(arms), _how(comparison)]
    write_atomically(page, flowed("\n".join(parts)))
    return page


def _random(records: Sequence[RunRecord]) -> list[RunRecord]:
    return [record for record in records if record.method.name == "random"]


def at_equal_steps(comparison: Comparison, arm: Row) -> Difference:
    """In points of Rel., from the random run of the same seed with as many steps; over the seeds that have one.

    Raises:
        UserError: no seed has one.
    """
    random = {o.record.seed: o.rel for row in comparison.rows if (row.label, row.recipe) == ("random", SHORT)
              for o in row.outcomes}  # fmt: skip
    differences = [o.rel - random[o.record.seed] for o in arm.outcomes if o.record.seed in random]
    if not differences:
        raise UserError(
            f"{arm.label} and random have no seed in common under {SHORT}; run experiments=studies/dynamic_alone with "
            f"the seeds of {arm.label}."
        )
    return Difference.of(differences)


def at_equal_cost(comparison: Comparison, arm: Row) -> Difference | str:
    """In points of Rel., from a random run of the same seed that trains until it has cost as much.

    Such a run is interpolated between the random runs of the seed that were made, by device-seconds. The reason instead
    if that cannot be done for every seed: the arm costs more than the longest of all random runs (`DEARER`), less than
    the shortest (`CHEAPER`), or a seed lacks the run on one side (`PARTLY`).
    """
    rows, cost = [row for row in comparison.rows if row.label == "random"], _cost(arm)
    if cost > max(map(_cost, rows)):
        return DEARER
    if cost < min(map(_cost, rows)):
        return CHEAPER
    found = []
    for outcome in arm.outcomes:
        same = sorted((_cost(row), o.rel) for row in rows for o in row.outcomes if o.record.seed == outcome.record.seed)
        if not same or not same[0][0] <= cost <= same[-1][0]:
            return PARTLY
        costs, scores = zip(*same, strict=True)
        found.append(outcome.rel - float(np.interp(cost, costs, scores)))
    return Difference.of(found)


def _cost(row: Row) -> float:
    """Device-seconds of selection and tuning, each of the seed for which it took least.

    Every seed of a row does the same work; what took longer shared the machine with something else.
    """
    return _selection(row) + _tuning(row)


def _selection(row: Row) -> float:
    return min(outcome.record.costs.selection for outcome in row.outcomes)


def _tuning(row: Row) -> float:
    return min(outcome.record.costs.tuning for outcome in row.outcomes)


def _opening(comparison: Comparison, arms: Sequence[Row]) -> str:
    others = [arm for arm in arms if arm.label != "random"]
    steps = {arm.label: at_equal_steps(comparison, arm) for arm in others}
    cost = {arm.label: at_equal_cost(comparison, arm) for arm in others}
    far = [name for name, found in cost.items() if found in (DEARER, CHEAPER)]
    partly = [name for name, found in cost.items() if found == PARTLY]
    pairs = [(name, f"reselect+{name}") for name in steps if f"reselect+{name}" in steps]
    again = "; ".join(
        f"{after} {signed(steps[after].mean)}, {name} {signed(steps[name].mean)}" for name, after in pairs
    )
    seeds = len({record.seed for record in comparison.records})
    return (
        f"Rel. of runs with the steps of one pass over 30 % of the pool, {seeds} seeds; intervals are over the seeds, "
        f"paired with the random run of the same seed, and not corrected for the {len(others)} comparisons.\n\n"
        f"- At equal steps: {_clear(steps)}.\n"
        f"- At equal cost, against random rows trained for as long as selection and training take here together: "
        f"{_clear({name: one for name, one in cost.items() if isinstance(one, Difference)})}."
        + (f" Dearer than every random run, or cheaper, so not compared: {', '.join(far)}." if far else "")
        + (f" Not for every seed, so not compared: {', '.join(partly)}." if partly else "")
        + (f"\n- Choosing again beside choosing once, both against random at equal steps: {again}." if pairs else "")
        + f"\n\n![Rel. against cost while runs train]({NAME}.svg)\n\n*Each line is one way to choose, from a "
        f"third of its steps to all; a random run that trains for longer is a line of its own.*\n"
    )


def _clear(differences: dict[str, Difference]) -> str:
    better = [f"{name} ({one})" for name, one in differences.items() if one.clear and one.mean > 0]
    worse = [f"{name} ({one})" for name, one in differences.items() if one.clear and one.mean < 0]
    unclear = [f"{name} ({one})" for name, one in differences.items() if not one.clear]
    groups = [("better than random", better), ("worse", worse), ("no clear difference", unclear)]
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in groups if names) or "nothing to compare"


def _steps(comparison: Comparison, arms: Sequence[Row]) -> str:
    head = ["run", "Rel. %", "at equal steps", "at equal cost", "selection", "tuning", "share of full", "OSC"]
    full = _tuning(max((row for row in comparison.rows if row.full), key=_tuning))
    rows = []
    for arm in arms:
        own = arm.label == "random"
        rows.append([
            arm.label, format_estimate(arm.rel, 1, "unknown"),
            "–" if own else str(at_equal_steps(comparison, arm)),
            "–" if own else str(at_equal_cost(comparison, arm)),
            format_time(_selection(arm)), format_time(_tuning(arm)), f"{100 * _cost(arm) / full:.0f} %",
            f"{100 * _cost(arm) / full / arm.rel.mean:.2f}",
        ])  # fmt: skip
    return f"## Equal steps, equal cost\n\nDifferences from random, in points of Rel.\n\n{table(head, rows)}"


def _visits(arms: Sequence[Row]) -> str:
    head = ["run", "different rows", "rounds", "rows scored", "new in a later round", "also in the round before"]
    rows = []
    for arm in arms:
        records = [outcome.record for outcome in arm.outcomes]
        entries = [record.schedule for record in records if record.schedule is not None]
        later = [one for entry in entries for one in entry.rounds[1:]]
        distinct = f"{fmean(record.subset.coverage.kept_distinct for record in records):,.0f}"
        if not entries:
            rows.append([arm.label, distinct, "–", "–", "–", "–"])
            continue
        scored = fmean(sum(one.scored for one in entry.rounds) for entry in entries)
        shares = [100 * fmean(getattr(one, name) / one.distinct for one in later) for name in ("fresh", "overlap")]
        rounds = f"{fmean(len(entry.rounds) for entry in entries):.0f}"
        rows.append([arm.label, distinct, rounds, f"{scored:,.0f}", *(f"{share:.0f} %" for share in shares)])
    return f"## What was visited\n\nMeans over seeds; shares are of a round's different rows.\n\n{table(head, rows)}"


def _how(comparison: Comparison) -> str:
    commits = ", ".join(sorted({str(record.provenance.commit)[:10] for record in comparison.records}))
    commands = ", ".join(f"`{command}`" for command in sorted({r.provenance.command for r in comparison.records}))
    return (
        f"- Scale: {comparison.records[0].scale}. Costs are seconds × devices of selection and tuning, of the "
        f"seed for which they were least: all seeds of a row do the same work, and some shared the machine with other "
        f"work.\n"
        f"- Corrected for all comparisons and with the items' errors: [dynamic.md](dynamic.md).\n"
        f"- Commands: {commands}\n- Commit: {commits}\n- Measured on: {comparison.records[0].provenance.hardware}\n"
    )


def curve_of(comparison: Comparison, row: Row) -> list[tuple[float, float]]:
    """Cost in device-seconds and mean Rel. at each point of the seeds that were evaluated on the way.

    The end, over all seeds, included; it alone where no seed was.
    """
    full = {name: fmean(scores_of(record)[name] for record in _longest(comparison)) for name in comparison.counted}

    def rel(scores: Mapping[str, float]) -> float:
        return relative(scores, full, comparison.counted)

    records = [outcome.record for outcome in row.outcomes]
    spent = {r.seed: r.costs.selection + r.costs.tuning for r in records}
    ways = [[((p.selection + p.tuning) / spent[r.seed], rel(p.scores)) for p in r.curve] for r in records if r.curve]
    on_the_way = [
        (median(share for share, _ in at) * _cost(row), fmean(score for _, score in at))
        for at in zip(*ways, strict=False)
    ]
    return [*on_the_way, (_cost(row), fmean(rel(scores_of(r)) for r in records))]


def _longest(comparison: Comparison) -> list[RunRecord]:
    most = max(record.recipe.steps for record in comparison.fulls)
    return [record for record in comparison.fulls if record.recipe.steps == most]


def draw(comparison: Comparison, arms: Sequence[Row]) -> Figure:
    """Rel. against cost; a dashed line joins the ends of the random runs of every length."""
    figure = blank()
    axes = figure.add_subplot()
    for arm in arms:
        cost, score = zip(*curve_of(comparison, arm), strict=True)
        style = style_of(arm.method)
        look: dict[str, Any] = {"color": style.colour, "marker": style.marker, "markersize": 6}
        axes.plot([one / 60 for one in cost], score, label=arm.label, **look)
    random = sorted(curve_of(comparison, row)[-1] for row in comparison.rows if row.label == "random")
    cost, score = zip(*random, strict=True)
    axes.plot([one / 60 for one in cost], score, color=style_of("random").colour, linestyle="--", label=LONGER)
    axes.set_title("Score while a run trains, against what it has cost by then", loc="left", fontsize=13)
    axes.set_xlabel("selection and tuning so far, minutes × devices")
    axes.set_ylabel("Rel. %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


if __name__ == "__main__":
    try:
        print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
    except UserError as problem:
        sys.exit(str(problem))
