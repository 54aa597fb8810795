"""A paper's printed cells beside ours: published / ours / difference, and unknown where one of them is."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from pathlib import Path

from selectmm.cache.reading import Mismatch, read
from selectmm.errors import UserError
from selectmm.evaluation.suite import Score
from selectmm.paths import ROOT
from selectmm.records.groups import recipe_of
from selectmm.records.record import RunRecord
from selectmm.report.margin import Measured, joined, measured
from selectmm.report.names import name_of
from selectmm.report.notes import origin
from selectmm.report.relative import full_of, is_full, mean_scores, relative, scores_of
from selectmm.report.rows import Comparison, Row, format_estimate
from selectmm.report.shared_items import variance_of_errors
from selectmm.report.table import NOTHING, Table, format_time

CELLS = ROOT / "results" / "published" / "scores.csv"
REL = "Rel"
ALIKE = 0.03  # two budgets in rows that differ by this share are the same budget; both numbers are shown
COSTS = ("selection", "tuning", "total", "share of full", "OSC")
UNKNOWN, NOT_RUN = "unknown", "not run"


@dataclass(frozen=True)
class Reproduces:
    """Which table of which paper an experiment reproduces (the key ``published`` of its configuration).

    Attributes:
        paper, table: as in ``results/published/scores.csv``.
        methods: our method name → what the paper calls the row, where the two differ.
        models: our model (``model=``) → what the paper adds to the row's name, where its table has several.
        benchmarks: our benchmark → what the paper calls the column, where the two differ.
        relative_to: the method whose scores the paper's ``Rel.`` is a share of.
        rel_over: the benchmarks that the paper's ``Rel.`` averages; empty for all of the suite.
    """

    paper: str
    table: str
    methods: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    benchmarks: Mapping[str, str] = field(default_factory=dict)
    relative_to: str = "full"
    rel_over: tuple[str, ...] = ()

    def named(self, method: str, model: object) -> str:
        """The paper's name of our row."""
        name = self.methods.get(method, method)
        return f"{name} {self.models[model]}" if isinstance(model, str) and model in self.models else name


@dataclass(frozen=True)
class Printed:
    """One printed row: its method, its rows of data (empty if not given), its values by benchmark, its evidence.

    ``remark``: what the file says of its table's cells, such as a doubt; empty if nothing.
    """

    method: str
    samples: str
    values: Mapping[str, float]
    evidence: str
    remark: str = ""


def read_printed(paper: str, table: str, path: Path = CELLS) -> list[Printed]:
    """The rows of a printed table, in the file's order.

    Raises:
        UserError: the file has no such table.
    """
    rows: dict[tuple[str, str], tuple[dict[str, float], set[str], str]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for cell in csv.DictReader(stream):
            if (cell["paper"], cell["table"]) == (paper, table):
                remark = cell["setting"].partition(";")[2].strip()
                values, evidence, _ = rows.setdefault((cell["method"], cell["samples"]), ({}, set(), remark))
                values[cell["benchmark"]] = float(cell["value"])
                evidence.add(cell["evidence"])
    if not rows:
        raise UserError(f"{path} holds no table '{table}' of {paper}; correct the experiment's 'published'.")
    return [Printed(m, samples, values, "/".join(sorted(e)), r) for (m, samples), (values, e, r) in rows.items()]


def beside_papers(comparisons: Sequence[Comparison]) -> list[Table]:
    """Every printed table that the runs' experiments reproduce, with our full-scale runs in it.

    Runs that must not be compared (of two base models, say) get a table each; runs of another scale get one in which
    nothing was run.
    """
    records = sorted((record for one in comparisons for record in one.records), key=lambda record: record.finished)
    # What an experiment says of itself may have been corrected since: the newest run's word counts.
    tables = {(record.experiment, of.paper, of.table): of for record in records if (of := _reproduced(record))}
    found = []
    for (experiment, *_), of in sorted(tables.items(), key=lambda item: item[0]):
        mine = [one for one in comparisons if any(record.experiment == experiment for record in one.records)]
        at_scale = [one for one in mine if one.records[0].scale == "full"] or mine[:1]
        found += [beside_published(of, one, read_printed(of.paper, of.table)) for one in at_scale]
    return found


def _reproduced(record: RunRecord) -> Reproduces | None:
    """What an experiment reproduces, checked, because a record may come from anybody."""
    given = record.config.get("published")
    if not given:
        return None
    defaults = {"methods": {}, "models": {}, "benchmarks": {}, "relative_to": "full", "rel_over": []}
    try:
        return read(Reproduces, {**defaults, **given} if isinstance(given, dict) else given, "published")
    except Mismatch as problem:
        raise UserError(f"A record's configuration does not say which table it reproduces: {problem}.") from problem


def beside_published(reproduces: Reproduces, comparison: Comparison, printed: Sequence[Printed]) -> Table:
    """The paper's table with ours in it. Runs of another scale than the paper's stay out: they are ``not run``.

    Every row of the paper is there, and every method of ours that the paper may have run; a cell that we could not read
    in the paper is *unknown*, not zero.
    """
    ours = [row for row in comparison.rows if row.outcomes[0].record.scale == "full"]
    printed = [_as_ours(row, reproduces) for row in printed]
    benchmarks = list(dict.fromkeys(name for row in printed for name in row.values if name != REL))
    benchmarks += [
        n for n in comparison.benchmarks if ours and n not in benchmarks and n in _over(reproduces, comparison)
    ]
    pairs = [(row, _ours(row, ours, reproduces)) for row in printed]
    paired = [row for _, row in pairs if row is not None]
    pairs += [(Printed(row.label, "", {}, UNKNOWN), row) for row in ours if all(row is not other for other in paired)]
    rows = [_cells(row, mine, benchmarks, reproduces, comparison) for row, mine in pairs]
    scores = [score for row in ours for outcome in row.outcomes for score in outcome.record.scores]
    return Table(
        caption=_caption(reproduces, comparison if ours else None),
        columns=("method", "rows", "evidence", *benchmarks, "Rel. %", *COSTS),
        rows=(*_items(scores, benchmarks), *rows),
        notes=(*_notes(reproduces), *_remarks(reproduces, printed), *(origin(comparison.records) if ours else ())),
    )


def _caption(reproduces: Reproduces, comparison: Comparison | None) -> str:
    text = f"{reproduces.paper}, {reproduces.table}: published / ours / difference · scale: full"
    return text if comparison is None else f"{text} · base model {_model(comparison)}"


def _notes(reproduces: Reproduces) -> list[str]:
    over = ", ".join(reproduces.rel_over) or "every benchmark of the suite"
    return [
        f"Published: results/published/scores.csv. {UNKNOWN}: not printed in the paper, or not readable to us. "
        f"{NOT_RUN}: there is no full-scale record; runs of the embedded model are never compared with a paper's. "
        f"Ours: mean ± half its 95 % confidence interval over items and seeds (n seeds). Rel. is relative to "
        f"{reproduces.relative_to}, as in the paper, over {over}, whether at chance or not. Costs are ours, in seconds "
        f"× devices: selection, tuning, their sum, the sum as a share of full's tuning, and OSC (with the Rel. of the "
        f"table above).",
    ]


def _remarks(reproduces: Reproduces, printed: Sequence[Printed]) -> list[str]:
    """What the file says of these cells, and columns that the paper calls otherwise."""
    said = [
        f"About the published cells: {remark}." for remark in dict.fromkeys(row.remark for row in printed) if remark
    ]
    named = [f"{ours} is what the paper calls {theirs}" for ours, theirs in reproduces.benchmarks.items()]
    return said + [f"Columns: {', '.join(named)}, as far as we can tell." for _ in named[:1]]


def _as_ours(row: Printed, reproduces: Reproduces) -> Printed:
    """The printed row under our names of its columns."""
    ours = {theirs: name for name, theirs in reproduces.benchmarks.items()}
    return replace(row, values={ours.get(name, name): value for name, value in row.values.items()})


def _items(scores: Sequence[Score], benchmarks: Sequence[str]) -> list[tuple[str, ...]]:
    """What guessing scores, and how many items were answered, under the benchmarks; nothing if we ran nothing."""
    if not scores:
        return []
    by_name = {score.benchmark: score for score in scores}
    found = [by_name.get(name) for name in benchmarks]
    chance = [NOTHING if one is None else UNKNOWN if one.chance is None else f"{one.chance:g}" for one in found]
    items = [NOTHING if one is None else f"{one.items:,}" for one in found]
    rest = [NOTHING] * (1 + len(COSTS))
    return [(name, NOTHING, NOTHING, *cells, *rest) for name, cells in (("(chance)", chance), ("(items)", items))]


def _ours(printed: Printed, rows: Sequence[Row], reproduces: Reproduces) -> Row | None:
    """Our row of the same method, model and, if the paper gives it, number of rows; of several the nearest."""
    named = [row for row in rows if reproduces.named(row.method, _chosen(row)) == printed.method]
    if not printed.samples:
        return named[0] if named else None
    samples = float(printed.samples)
    near = sorted(named, key=lambda row: abs(_kept(row) - samples))
    return near[0] if near and abs(_kept(near[0]) - samples) <= ALIKE * samples else None


def _chosen(row: Row) -> object:
    """The model by the name it was chosen by; None in records of before choices were kept."""
    chosen = row.outcomes[0].record.config.get("chosen")
    return chosen.get("model") if isinstance(chosen, Mapping) else None


def _kept(row: Row) -> int:
    return row.outcomes[0].record.subset.rows


def _model(comparison: Comparison) -> str:
    first = comparison.records[0]
    return f"{name_of(first.config.get('model'))} ({first.model})"


def _cells(
    printed: Printed, row: Row | None, benchmarks: Sequence[str], reproduces: Reproduces, comparison: Comparison
) -> tuple[str, ...]:
    samples = f"{float(printed.samples):,.0f}" if printed.samples else UNKNOWN
    kept = NOT_RUN if row is None else f"{_kept(row):,}"
    scores = [_cell(printed.values.get(name), row, None if row is None else measured(row, name)) for name in benchmarks]
    rel = _cell(printed.values.get(REL), row, None if row is None else _rel(row, reproduces, comparison))
    return printed.method, f"{samples} / {kept}", printed.evidence, *scores, rel, *_costs(row)


def _costs(row: Row | None) -> list[str]:
    if row is None:
        return [NOT_RUN] * len(COSTS)
    times = [format_time(seconds) for seconds in (row.selection, row.tuning, row.total)]
    share = format_estimate(row.share, 0, UNKNOWN)
    return [*times, share if row.share is None else f"{share} %", format_estimate(row.osc, 2, UNKNOWN)]


def _rel(row: Row, reproduces: Reproduces, comparison: Comparison) -> Measured | None:
    """A share of what the paper takes as a whole, over its benchmarks; each run against the mean over seeds."""
    over = _over(reproduces, comparison)
    values, errors = [], []
    for run in (outcome.record for outcome in row.outcomes):
        against = mean_scores(_base(run, reproduces, comparison))
        found = relative(scores_of(run), against, over)
        if found is None:
            return None
        values.append(found)
        stderr = {score.benchmark: score.stderr for score in run.scores}
        shares = {name: 100 * error / against[name] for name in over if (error := stderr[name]) is not None}
        total = variance_of_errors(shares, [run], comparison.tallies)
        errors.append(sqrt(total) / len(over) if len(shares) == len(over) else None)
    return joined(values, errors)


def _over(reproduces: Reproduces, comparison: Comparison) -> Sequence[str]:
    return reproduces.rel_over or comparison.benchmarks


def _base(run: RunRecord, reproduces: Reproduces, comparison: Comparison) -> list[RunRecord]:
    """What a run's ``Rel.`` is a share of; another method than full is taken at the run's own budget and recipe.

    The full run has no such budget. It is measured against the method's only one; with several there is no base.
    """
    if reproduces.relative_to == "full":
        return full_of(run, comparison.fulls)
    named = [one for one in comparison.records if one.method.name == reproduces.relative_to]
    if is_full(run):
        return named if len({_length(one) for one in named}) == 1 else []
    return [one for one in named if _length(one) == _length(run)]


def _length(run: RunRecord) -> tuple[object, ...]:
    return run.budget, *recipe_of(run)


def _cell(printed: float | None, row: Row | None, ours: Measured | None) -> str:
    theirs = UNKNOWN if printed is None else f"{printed:g}"
    if row is None:
        return f"{theirs} / {NOT_RUN} / –"
    if ours is None:
        return f"{theirs} / missing / {UNKNOWN}"
    margin = "" if ours.margin is None else f" ± {ours.margin:.1f}"
    difference = UNKNOWN if printed is None else f"{ours.mean - printed:+.1f}"
    return f"{theirs} / {ours.mean:.1f}{margin} ({ours.n}) / {difference}"
