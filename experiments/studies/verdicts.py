"""Every difference from random on pages with several seeds, corrected for all of them; which benchmarks each needs.

python experiments/studies/verdicts.py [FOLDER]
"""

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.cells import flowed, signed, table
from selectmm.cache.stage import write_atomically
from selectmm.records.files import load
from selectmm.records.groups import conditions
from selectmm.records.record import RunRecord
from selectmm.report.pairing import tallies_of
from selectmm.report.pictures import blank, keep
from selectmm.report.references import References, references_among
from selectmm.report.relative import is_full
from selectmm.report.rows import Comparison, Tallies, compare
from selectmm.report.verdict import NO_ERROR, ONE_SEED, Difference, Verdict, difference, verdicts
from selectmm.statistics.paired import ALPHA, holm

ROOT = Path(__file__).resolve().parents[2]
NAME = "verdicts"
HEAD = "<!-- Made by `python experiments/studies/verdicts.py`; never edited by hand. -->"
YARDSTICKS = ("oracle", "by_source", "one_source")  # know what matters beforehand: no methods
FULL_RUNS_OF = {"all-methods-30": "all-methods"}  # whose full runs Rel. is relative to, of experiments without any
STAYS, ALONE, WITHIN = "#D55E00", "#0072B2", "#8C8C8C"
DOT: Mapping[str, Any] = {"marker": "o", "markersize": 5, "linestyle": "none"}

Recorded = tuple[Path, RunRecord]
"""A record with its file."""


@dataclass(frozen=True)
class Look:
    """One difference from random, wherever it is printed.

    Attributes:
        pages: the experiments that print it. needs: benchmarks without any one of which it would be within noise.
        overall: its p after Holm's correction over all looks.
    """

    verdict: Verdict
    pages: tuple[str, ...]
    needs: tuple[str, ...]
    overall: float = 1.0

    @property
    def known(self) -> bool:
        """Whether its page says anything of it: with one seed the spread over seeds is unknown."""
        return self.verdict.conclusion not in (ONE_SEED, NO_ERROR)

    @property
    def p(self) -> float:
        """Of no difference; 1 where nothing is known, as on its page."""
        return self.found.p if self.known else 1.0

    @property
    def label(self) -> str:
        """Method and budget, and the experiments: several compare one method at one budget."""
        row = self.verdict.row
        return f"{row.label} {100 * row.budget:.4g} % ({', '.join(self.pages)})"

    @property
    def found(self) -> Difference:
        """The difference itself."""
        return self.verdict.found


def make(folder: Path) -> Path:
    """Write the page and its picture under ``folder``; the same records give the same bytes. Returns the page."""
    looks = gathered()
    folder.mkdir(parents=True, exist_ok=True)
    keep(partial(draw, looks), folder, NAME)
    page = folder / f"{NAME}.md"
    picture = f"![Every difference from random with its interval]({NAME}.svg)\n"
    write_atomically(page, "\n".join([HEAD, f"# {NAME}\n", flowed(_opening(looks)), picture, _table(looks)]))
    return page


def gathered() -> list[Look]:
    """The differences of all experiments of several seeds, surest first; the same runs on several pages are one."""
    paths = sorted((ROOT / "results" / "records").glob("*.json"))
    records = sorted(((path, load(path)) for path in paths), key=lambda one: one[1].experiment)
    by_name = {name: list(group) for name, group in groupby(records, key=lambda one: one[1].experiment)}
    groups = [[*mine, *_full_runs_for(name, by_name)] for name, mine in by_name.items()]
    found: dict[tuple[object, ...], Look] = {}
    # Of the same runs on several pages the difference is that of the largest page, which knows most of the spread.
    for mine in sorted(groups, key=len, reverse=True):
        if len({record.seed for _, record in mine}) > 1:
            name = mine[0][1].experiment
            for key, look in looks_of(name, [record for _, record in mine], tallies_of(mine)).items():
                known = found.get(key, replace(look, pages=()))
                found[key] = replace(known, pages=tuple(sorted((*known.pages, name))))
    looks = sorted(found.values(), key=lambda look: look.p)
    overall = holm([look.p for look in looks])
    return [replace(look, overall=float(p)) for look, p in zip(looks, overall, strict=True)]


def _full_runs_for(name: str, by_name: Mapping[str, Sequence[Recorded]]) -> list[Recorded]:
    """Another experiment's full runs, if this one compares with random and has none of its own."""
    methods = {record.method.name for _, record in by_name[name]}
    if "full" in methods or "random" not in methods:
        return []
    return [one for one in by_name[FULL_RUNS_OF[name]] if is_full(one[1])]


def looks_of(name: str, records: Sequence[RunRecord], tallies: Tallies) -> Mapping[tuple[object, ...], Look]:
    """One experiment's, by the runs that stand behind them."""
    files = (ROOT / "results" / "references").glob("*.json")
    references = references_among(sorted(file for file in files if not file.match("*.record.json")), records)
    seen = compare(records, references, tallies)
    full, looks = [row.trained for row in seen.rows if row.full], {}
    without = cache(partial(leaving_out, seen=seen, references=references))
    for verdict in verdicts(seen):
        if verdict.row.method not in YARDSTICKS:
            where = json.dumps(conditions(records[0]), sort_keys=True)
            key = (where, verdict.row.recipe, verdict.row.trained, verdict.random.trained, *full, seen.counted)
            looks[key] = Look(verdict, (name,), _needs(verdict, seen.counted, without))
    return looks


def _needs(verdict: Verdict, counted: tuple[str, ...], without: Callable[[str], Comparison]) -> tuple[str, ...]:
    if verdict.found.within_noise or verdict.conclusion in (ONE_SEED, NO_ERROR):
        return ()
    if len(counted) == 1:
        return counted
    return tuple(name for name in counted if again(verdict, without(name)).within_noise)


def leaving_out(name: str, seen: Comparison, references: References) -> Comparison:
    """The comparison as it would be if a benchmark had not been measured."""
    records = [replace(r, scores=tuple(score for score in r.scores if score.benchmark != name)) for r in seen.records]
    return compare(records, references, seen.tallies)


def again(verdict: Verdict, other: Comparison) -> Difference:
    """The difference between the same runs in another comparison."""
    row, random = (next(o for o in other.rows if o.run == r.run) for r in (verdict.row, verdict.random))
    return difference(row, random, other)


def _opening(looks: Sequence[Look]) -> str:
    judged = [look for look in looks if look.known]
    stay = [look for look in judged if look.overall <= ALPHA]
    firm = [look for look in stay if not look.needs]
    alone = [look for look in judged if look.overall > ALPHA and not look.found.within_noise]
    return (
        f"Each page corrects for the comparisons with random on that page alone. All pages with several seeds together "
        f"hold {len(looks)} different comparisons. Scale: {looks[0].verdict.row.outcomes[0].record.scale}.\n\n"
        f"- Significant after Holm correction over all {len(looks)}: {_named(stay)}.\n"
        f"- Of these, whichever benchmark is left out: {_named(firm)}.\n"
        f"- Significant only before correction for {len(looks)}: {_named(alone)}.\n"
        f"- Difference: in Rel., ± half its 95 % interval over seeds and items, as on the pages. Needs: benchmarks "
        f"without any one of which it would not be significant before correction.\n"
        f"- In brackets: the experiment. Recipes: {_recipes(looks)}.\n"
    )


def _recipes(looks: Sequence[Look]) -> str:
    """Each experiment with the recipes that its comparisons were trained with."""
    used: dict[str, set[str]] = {}
    for look in looks:
        for page in look.pages:
            used.setdefault(page, set()).add(f"`{look.verdict.row.recipe}`")
    return "; ".join(f"{page} {' and '.join(sorted(used[page]))}" for page in sorted(used))


def _named(looks: Sequence[Look]) -> str:
    return ", ".join(f"{look.label} ({signed(look.found.value)})" for look in looks) or "none"


def _table(looks: Sequence[Look]) -> str:
    head = ["method, budget (experiment)", "difference", "p", "p, Holm over all", "on its page", "needs", "pages"]
    return table(head, [
        [
            look.label, look.verdict.shown, _p(look.p), _p(look.overall),
            _conclusion(look), _needed(look), ", ".join(f"[{page}]({page}.md)" for page in look.pages),
        ]
        for look in looks
    ])  # fmt: skip


def _conclusion(look: Look) -> str:
    """What its own page says; the number of comparisons is that page's."""
    return look.verdict.conclusion.removesuffix(" for {} comparisons").lower()


def _needed(look: Look) -> str:
    return "–" if look.found.within_noise or not look.known else ", ".join(look.needs) or "none"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def draw(looks: Sequence[Look]) -> Figure:
    """A column for each experiment and budget, a row for each method: each difference with its interval.

    Columns with the most methods come first. Rows are ordered by the mean difference over the columns.
    """
    placed = [((page, look.verdict.row.budget), look) for look in looks for page in look.pages]
    held = Counter(column for column, _ in placed)
    columns = sorted(held, key=lambda column: (-held[column], column))
    rows = _by_mean_difference(looks)
    figure = blank(1.6 + 1.55 * len(columns), 1.9 + 0.26 * len(rows))
    panels = figure.subplots(1, len(columns), sharex=True, sharey=True, squeeze=False)[0]
    for axes, column in zip(panels, columns, strict=True):
        for mine, look in placed:
            if mine == column:
                _point(axes, look, rows.index(look.verdict.row.label))
        axes.axvline(0, color="#555555", linewidth=1, zorder=0)
        axes.set_title(f"{column[0]}\n{100 * column[1]:.4g} %", fontsize=9)
        axes.grid(axis="y", color="#EEEEEE", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(rows)), rows, fontsize=9)
    panels[0].set_ylim(-0.6, len(rows) - 0.4)
    scale = looks[0].verdict.row.outcomes[0].record.scale
    title = f"Which method differs from a random draw of its size? · {scale} scale"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13)
    figure.supxlabel("difference in Rel. (points), 95 % over seeds and items", fontsize=10)
    entries = (
        (STAYS, f"significant after correction for {len(looks)}"),
        (ALONE, "significant only before correction"),
        (WITHIN, "not significant"),
    )
    dots = [Line2D([], [], color=colour, label=words, **DOT) for colour, words in entries]
    figure.legend(handles=dots, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return figure


def _by_mean_difference(looks: Sequence[Look]) -> list[str]:
    """The methods, that with the lowest mean difference first: it stands at the bottom."""
    found: dict[str, list[float]] = {}
    for look in looks:
        found.setdefault(look.verdict.row.label, []).append(look.found.value)
    return sorted(found, key=lambda method: (fmean(found[method]), method))


def _point(axes: Axes, look: Look, place: int) -> None:
    """One difference, and its interval if its page gives one."""
    within = look.found.within_noise or not look.known
    colour = WITHIN if within else STAYS if look.overall <= ALPHA else ALONE
    margin = look.found.margin if look.known else None
    axes.errorbar(look.found.value, place, xerr=margin, color=colour, elinewidth=1.4, **DOT)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "tables"))
