"""What goes with a high score in studies/all_methods, and is a method's place the same in every seed? From its records.

python experiments/studies/explain.py [FOLDER]
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import entropy, permutation_test, rankdata, spearmanr, zscore

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, table
from experiments.complete import check_rel
from selectmm.cache.stage import write_atomically
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.records.files import load
from selectmm.records.record import RunRecord
from selectmm.report.colours import style_of
from selectmm.report.pictures import blank, keep
from selectmm.report.references import references_of_table
from selectmm.report.relative import is_full
from selectmm.report.rows import Comparison, Row, compare, format_estimate
from selectmm.statistics.paired import holm

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = [ROOT / "results" / "references" / f"{name}.json" for name in ("mini_study", "mini_study_eight_layers")]
NAME = "all-methods-explained"
HEAD = "<!-- Made by `python experiments/studies/explain.py`; never edited by hand. -->"

# Of the built-in pool (selectmm/quickstart/sources.py).
KNOWN = ("easyvqa_shape", "easyvqa_color", "digits_open", "captions_templated")
LETTERS = ("choice_shapes", "choice_digits", "choice_bars", "choice_tables", "choice_exam", "choice_steps")
NOISE = ("noise_injected", "weather_noise")

STUDY = "all-methods"  # the experiment
# The same question under another setting: an experiment's name, and what is different there.
ELSEWHERE = {
    "all-methods-30": "30 % of the pool: the eight methods that differ most at 15 %, and random",
    "all-methods-half": "half of the pool, and 15 % of that",
    "all-methods-layers": "a model of eight decoder layers in place of four",
}
# What a reader of its ρ has to know.
REMARKS = {
    "all-methods-30": "Of 30 %: methods that were chosen because they differ at 15 % keep their order more easily than "
    "all methods would.",
    "all-methods-half": "Of half of the pool: training takes half as many steps there too, so it is another budget as "
    "well as another pool.",
    "all-methods-layers": "Of eight layers: that model has an alignment of its own, so what it had learned before "
    "differs as well.",
}

Kept = Mapping[str, Mapping[str, int]]  # `experiments.studies.kept_rows`: by the subset's fingerprint


@dataclass(frozen=True)
class Property:
    """Something that can be counted of a subset: a name, unit and meaning as ``unit: meaning``, and its value.

    ``pictures``: of its images, which records do not hold.
    """

    name: str
    meaning: str
    of: Callable[[RunRecord, Kept], float]
    pictures: bool = False


def _share(sources: Sequence[str]) -> Callable[[RunRecord, Kept], float]:
    return lambda record, kept: 100 * sum(_kept(record).get(name, 0) for name in sources) / sum(_kept(record).values())


def _kept(record: RunRecord) -> dict[str, int]:
    return {name: entry.kept for name, entry in record.subset.coverage.per_source.items()}


def _sources(record: RunRecord, kept: Kept) -> float:
    return float(np.exp(entropy(list(_kept(record).values()))))


def _without_picture(record: RunRecord, kept: Kept) -> float:
    rows = record.subset.coverage.kept_distinct
    return 100 * (rows - _pictures(record, kept)["pictures"]) / rows


def _pictures(record: RunRecord, kept: Kept) -> Mapping[str, int]:
    if record.subset.fingerprint not in kept:
        raise UserError(
            f"The pictures of {record.name}'s subset have not been counted; run experiments/studies/kept_rows.py."
        )
    return kept[record.subset.fingerprint]


def _repeated(record: RunRecord, kept: Kept) -> float:
    found = _pictures(record, kept)
    return 100 * (1 - found["distinct"] / found["pictures"]) if found["pictures"] else 0.0


def _alike(record: RunRecord, kept: Kept) -> float:
    found = _pictures(record, kept)
    return 100 * found["alike"] / found["pictures"] if found["pictures"] else 0.0


PROPERTIES = (
    Property("large sources", "% of rows: the four large sources, mostly known to the base model", _share(KNOWN)),
    Property("multiple choice", "% of rows: the six multiple-choice sources", _share(LETTERS)),
    Property("noise", "% of rows: the two sources of noise", _share(NOISE)),
    Property("no image", "% of rows: those without an image", _without_picture, pictures=True),
    Property("effective sources", "number: the exponential of the entropy over the 18 sources", _sources),
    Property("repeated images", "% of rows with an image: an earlier row has the same one", _repeated, pictures=True),
    Property("near-duplicates", "% of rows with an image: another row has nearly the same one", _alike, pictures=True),
)


def make(folder: Path, records: Sequence[RunRecord] | None = None, kept: Kept | None = None) -> Path:
    """Write the page and its picture under ``folder``; the same records give the same bytes. Returns the page.

    Args:
        records: of the study and of `ELSEWHERE`; None: those in results/. kept: None: the file in results/.

    Raises:
        UserError: there are no full runs to measure against, fewer than three methods, several budgets, or a score or
            the counts of all subsets of a method are missing.
    """
    results = ROOT / "results"
    if records is None:
        records = [load(path) for path in sorted((results / "records").glob("all_methods*.json"))]
    if kept is None:
        kept = json.loads((results / "metrics" / "all-methods-kept.json").read_text())["subsets"]
    study = _of(STUDY, records)
    comparison = compare(study, references_of_table(REFERENCES, study))
    if not comparison.fulls or sum(not row.full for row in comparison.rows) < 3:
        raise UserError("There are too few runs to compare; run experiments=studies/all_methods.")
    check_rel(comparison)
    rows = sorted((row for row in comparison.rows if not row.full), key=_rel, reverse=True)
    folder.mkdir(parents=True, exist_ok=True)
    values = {one.name: [_mean(one, row, kept) for row in rows] for one in PROPERTIES}
    found = correlations(rows, values)
    keep(partial(draw, rows, values, found), folder, NAME)
    page = folder / f"{NAME}.md"
    parts = [
        HEAD,
        f"# {NAME}\n",
        _places(rows),
        _elsewhere(rows, records),
        _correlations(rows, found),
        _table(rows, values),
        _how(comparison, _uncounted(rows, kept)),
    ]
    write_atomically(page, flowed("\n".join(parts)))
    return page


def _of(experiment: str, records: Sequence[RunRecord]) -> list[RunRecord]:
    """Records of one experiment; a method at another budget would be another method on the page.

    Raises:
        UserError: they are of several budgets.
    """
    found = [record for record in records if record.experiment == experiment]
    budgets = sorted({record.budget for record in found if not is_full(record)})
    if len(budgets) > 1:
        listed = " and ".join(f"{100 * budget:g} %" for budget in budgets)
        raise UserError(f"The records of {experiment} are of budgets {listed}; give each an experiment of its own.")
    return found


def _mean(one: Property, row: Row, kept: Kept) -> float:
    """Over the seeds; of images, over the seeds whose subset was counted, at least one."""
    records = [o.record for o in row.outcomes]
    there = [record for record in records if record.subset.fingerprint in kept] if one.pictures else records
    return fmean(one.of(record, kept) for record in there or records)


def _uncounted(rows: Sequence[Row], kept: Kept) -> str:
    """The subsets whose images were not counted, in words."""
    found: dict[int, list[str]] = {}
    for row in rows:
        for record in (o.record for o in row.outcomes):
            if record.subset.fingerprint not in kept:
                found.setdefault(record.seed, []).append(row.label)
    return "; ".join(f"seed {seed}: {', '.join(sorted(names))}" for seed, names in sorted(found.items()))


def _rel(row: Row) -> float:
    return row.rel.mean


def _spearman(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """Spearman's ρ, and its p by permutation: exact up to seven values, of 9,999 random orders for more.

    Of few values no small p is possible, where the usual approximation by Student's t gives p = 0.
    """
    mine, other = (zscore(rankdata(values)) for values in (first, second))

    def rho(ordered: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(ordered * other, axis=axis)

    test = permutation_test((mine,), rho, permutation_type="pairings", vectorized=True, rng=np.random.default_rng(0))
    return float(test.statistic), float(test.pvalue)


def _by_seed(rows: Sequence[Row]) -> tuple[list[int], np.ndarray]:
    """The seeds that all rows have, and Rel. of each row at each, [rows, seeds]."""
    scores = [{o.record.seed: o.rel for o in row.outcomes} for row in rows]
    seeds = sorted(set.intersection(*(set(one) for one in scores)))
    return seeds, np.array([[one[seed] for seed in seeds] for one in scores])


def _places(rows: Sequence[Row]) -> str:
    """How alike the orders of the methods are in two seeds; over the seeds that all of them have."""
    seeds, rel = _by_seed(rows)
    if len(seeds) < 2:
        return "Fewer than two seeds are there for all methods, so whether a method's place is stable is not known.\n"
    pairs = [float(spearmanr(rel[:, a], rel[:, b]).statistic) for a, b in combinations(range(len(seeds)), 2)]
    places = len(rows) + 1 - np.apply_along_axis(rankdata, 0, rel)
    first, last = (f"{rows[i].label} ({places[i].min():.0f} to {places[i].max():.0f})" for i in (0, -1))
    moved, named = fmean(np.ptp(places, axis=1)), ", ".join(map(str, seeds))
    return (
        f"Is a method's place the same in every seed? Spearman's ρ between the orders of {_ranked(rows)} in "
        f"two seeds, on the same benchmark items, is {fmean(pairs):.2f} on average over "
        f"{counted(len(pairs), 'pair')} of the seeds {named} ({min(pairs):.2f} to {max(pairs):.2f}). Between its "
        f"best and its worst seed a method moves by {moved:.0f} places on average; the first by its mean is {first}, "
        f"the last {last}.\n"
    )


def _ranked(rows: Sequence[Row]) -> str:
    return f"the {sum(row.method != 'random' for row in rows)} methods and random"


def _elsewhere(rows: Sequence[Row], records: Sequence[RunRecord]) -> str:
    """How alike the order of the methods is under another setting, which may lack full runs of its own."""
    rel = {row.label: _rel(row) for row in rows}
    cells, remarks = [], []
    for name, what in ELSEWHERE.items():
        theirs = _of(name, records)
        if theirs and not any(is_full(record) for record in theirs):
            theirs += [record for record in _of(STUDY, records) if is_full(record)]
        comparison = compare(theirs, references_of_table(REFERENCES, theirs))
        check_rel(comparison)
        there = {row.label: row for row in comparison.rows if not row.full}
        both = sorted(there.keys() & rel.keys())
        if len(both) > 2:
            rho = float(spearmanr([rel[one] for one in both], [_rel(there[one]) for one in both]).statistic)
            seeds = max(len(there[one].outcomes) for one in both)
            within = _within([row for row in rows if row.label in both], seeds)
            cells.append((what, f"{len(both)}", f"{seeds}", f"{rho:+.2f}", within))
            remarks += [REMARKS[name]] if name in REMARKS else []
    if not cells:
        return "Whether the order is the same under another setting has not been measured.\n"
    head = ("setting", "methods in both", "seeds there", "ρ", "ρ within the study")
    said = "".join(f" {one}" for one in remarks)
    return (
        f"Is the order the same elsewhere? Spearman's ρ between means over seeds, on the same benchmark items. For "
        f"comparison, *ρ within the study* is that between the mean of as many of the study's own seeds and the mean "
        f"of its other seeds, averaged over all such splits (in brackets: lowest to highest)."
        f"{said}\n\n{table(head, cells)}"
    )


def _within(rows: Sequence[Row], seeds: int) -> str:
    """ρ between the mean of ``seeds`` seeds and that of the others, as `_elsewhere` says it; a dash if none is left."""
    rel = _by_seed(rows)[1]
    everything = set(range(rel.shape[1]))
    found = [
        float(spearmanr(rel[:, list(some)].mean(1), rel[:, sorted(everything - {*some})].mean(1)).statistic)
        for some in combinations(sorted(everything), seeds)
        if len(some) < len(everything)
    ]
    return f"{fmean(found):+.2f} ({min(found):+.2f} to {max(found):+.2f})" if found else "–"


def correlations(rows: Sequence[Row], values: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    """By property: Spearman's ρ with Rel., and its p after Holm correction; without those that are equal for all."""
    varied = [one.name for one in PROPERTIES if np.ptp(values[one.name]) > 0]
    found = [_spearman(values[name], [_rel(row) for row in rows]) for name in varied]
    corrected = holm([p for _, p in found])
    return {name: (rho, float(p)) for name, (rho, _), p in zip(varied, found, corrected, strict=True)}


def _correlations(rows: Sequence[Row], found: Mapping[str, tuple[float, float]]) -> str:
    cells = [
        (one.name, f"{found[one.name][0]:+.2f}", _p_value(found[one.name][1]), one.meaning)
        for one in PROPERTIES
        if one.name in found
    ]
    return (
        f"## What goes with a high score\n\nSpearman's ρ over {_ranked(rows)} between a "
        f"property of what they keep and their Rel., both means over the seeds; p by permutation, after Holm "
        f"correction for the {len(found)} properties. A correlation over methods that somebody chose is no cause, and "
        f"the methods are not independent of one another.\n\n"
        f"{table(('property', 'ρ', 'p', 'what is counted'), cells)}\n"
        f"![Rel. against each property]({NAME}.svg)\n"
    )


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _table(rows: Sequence[Row], values: Mapping[str, Sequence[float]]) -> str:
    cells = [
        (row.label, format_estimate(row.rel, 1, "unknown"), *(f"{values[one.name][i]:.1f}" for one in PROPERTIES))
        for i, row in enumerate(rows)
    ]
    head = ("method", "Rel. %", *(one.name for one in PROPERTIES))
    return f"## What each method keeps\n\nMeans over the seeds; what is counted is said above.\n\n{table(head, cells)}"


def _how(comparison: Comparison, uncounted: str) -> str:
    commits = ", ".join(sorted({str(record.provenance.commit)[:10] for record in comparison.records}))
    return (
        f"- Scale: {comparison.records[0].scale}. Scores, costs and what differs significantly: "
        f"[all-methods.md](all-methods.md).\n"
        f"- Copies of pictures are counted by `python experiments/studies/kept_rows.py`: equal pixels, or nearly equal "
        f"as in the [contamination check](../../selectmm/contamination/README.md)."
        f"{f' Not counted, so not in the means of properties of images: {uncounted}.' if uncounted else ''}\n"
        f"- Commit: {commits}\n"
    )


def draw(
    rows: Sequence[Row], values: Mapping[str, Sequence[float]], found: Mapping[str, tuple[float, float]]
) -> Figure:
    """Rel. against each property, one point a method, and a legend where an eighth property would be."""
    figure = blank(13, 7)
    for place, one in enumerate(PROPERTIES):
        axes = figure.add_subplot(2, 4, place + 1)
        for i, row in enumerate(rows):
            style = style_of(row.method)
            axes.scatter(values[one.name][i], _rel(row), color=style.colour, marker=style.marker, s=30, label=row.label)
        below = (
            f"ρ = {found[one.name][0]:+.2f}, p {_equal(found[one.name][1])}" if one.name in found else "all the same"
        )
        axes.set_title(f"{one.name}\n{below}", loc="left", fontsize=10)
        axes.set_xlabel(one.meaning.partition(":")[0], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        if place % 4 == 0:
            axes.set_ylabel("Rel. %", fontsize=9)
    legend = figure.add_subplot(2, 4, len(PROPERTIES) + 1)
    legend.axis("off")
    points, labels = axes.get_legend_handles_labels()
    legend.legend(points, labels, ncols=2, fontsize=8, frameon=False, loc="upper left", borderpad=0, columnspacing=1)
    return figure


def _equal(p: float) -> str:
    return f"= {_p_value(p)}" if p >= 0.001 else _p_value(p)


if __name__ == "__main__":
    try:
        print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
    except UserError as problem:
        sys.exit(str(problem))
