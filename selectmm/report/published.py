"""A paper's printed cells beside ours: published / ours / difference, and unknown where one of them is."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selectmm.errors import UserError
from selectmm.records.reading import Mismatch, read
from selectmm.records.record import RunRecord
from selectmm.report.relative import relative, scores_of
from selectmm.report.rows import Comparison, Estimate, Row, format_estimate
from selectmm.report.table import Table

CELLS = Path(__file__).resolve().parents[2] / "results" / "published" / "scores.csv"
REL = "Rel"
ALIKE = 0.01  # two budgets in rows that differ by this share are the same budget
UNKNOWN, NOT_RUN = "unknown", "not run"


@dataclass(frozen=True)
class Reproduces:
    """Which table of which paper an experiment reproduces (the key ``published`` of its configuration).

    Attributes:
        paper, table: as in ``results/published/scores.csv``.
        methods: our method name → what the paper calls the row, where the two differ.
        models: our model (``model=``) → what the paper adds to the row's name, where its table has several.
        relative_to: the method whose scores the paper's ``Rel.`` is a share of.
    """

    paper: str
    table: str
    methods: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    relative_to: str = "full"

    def named(self, method: str, model: object) -> str:
        """The paper's name of our row."""
        name = self.methods.get(method, method)
        return f"{name} {self.models[model]}" if isinstance(model, str) and model in self.models else name


@dataclass(frozen=True)
class Printed:
    """One printed row: its method, its rows of data (empty if not given), its values by benchmark, its evidence."""

    method: str
    samples: str
    values: Mapping[str, float]
    evidence: str


def read_printed(paper: str, table: str, path: Path = CELLS) -> list[Printed]:
    """The rows of a printed table, in the file's order.

    Raises:
        UserError: the file has no such table.
    """
    rows: dict[tuple[str, str], tuple[dict[str, float], set[str]]] = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for cell in csv.DictReader(stream):
            if (cell["paper"], cell["table"]) == (paper, table):
                values, evidence = rows.setdefault((cell["method"], cell["samples"]), ({}, set()))
                values[cell["benchmark"]] = float(cell["value"])
                evidence.add(cell["evidence"])
    if not rows:
        raise UserError(f"{path} holds no table '{table}' of {paper}; correct the experiment's 'published'.")
    return [Printed(m, samples, values, "/".join(sorted(e))) for (m, samples), (values, e) in rows.items()]


def beside_papers(comparisons: Sequence[Comparison]) -> list[Table]:
    """For every printed table that the runs' experiments reproduce, that table with our full-scale runs in it."""
    asked: dict[str, list[Comparison]] = {}
    for one in comparisons:
        for told in {json.dumps(told, sort_keys=True) for told in map(_told, one.records) if told}:
            asked.setdefault(told, []).append(one)
    tables = [(_reproduces(json.loads(told)), asked[told]) for told in sorted(asked)]
    return [beside_published(one, ours, read_printed(one.paper, one.table)) for one, ours in tables]


def _reproduces(told: object) -> Reproduces:
    """What an experiment says, whoever wrote its record."""
    defaults = {"methods": {}, "models": {}, "relative_to": "full"}
    try:
        return read(Reproduces, {**defaults, **told} if isinstance(told, dict) else told, "published")
    except Mismatch as problem:
        raise UserError(f"A record's configuration does not say which table it reproduces: {problem}.") from problem


def _told(record: RunRecord) -> object:
    return record.config.get("published")


def beside_published(reproduces: Reproduces, comparisons: Sequence[Comparison], printed: Sequence[Printed]) -> Table:
    """The paper's table with ours in it. Runs of another scale than the paper's stay out: they are ``not run``.

    Every row of the paper is there, and every method of ours that the paper may have run; a cell that we could not read
    in the paper is *unknown*, not zero. Each of our rows is relative to its own comparison (of one base model).
    """
    benchmarks = list(dict.fromkeys(name for row in printed for name in row.values if name != REL))
    at_scale = [one for one in comparisons if one.records[0].scale == "full"]
    of = {id(row): one for one in at_scale for row in one.rows}
    ours = [row for one in at_scale for row in one.rows]
    pairs = [(row, _ours(row, ours, reproduces)) for row in printed]
    paired = [row for _, row in pairs if row is not None]
    pairs += [(Printed(row.label, "", {}, UNKNOWN), row) for row in ours if all(row is not other for other in paired)]
    rows = [_cells(row, mine, benchmarks, reproduces, of.get(id(mine))) for row, mine in pairs]
    return Table(
        caption=f"{reproduces.paper}, {reproduces.table}: published / ours / difference · scale: full",
        columns=("method", "rows", "evidence", *benchmarks, "Rel. %"),
        rows=tuple(rows),
        notes=(
            f"Published: results/published/scores.csv. {UNKNOWN}: not readable to us, or not printed. {NOT_RUN}: no "
            f"record of ours at full scale; runs on the embedded default never stand beside a paper's. Rel. here is to "
            f"{reproduces.relative_to}, as in the paper, over every benchmark of the suite, at chance or not.",
        ),
    )


def _ours(printed: Printed, rows: Sequence[Row], reproduces: Reproduces) -> Row | None:
    """Our row of the same method and, if the paper gives it, the same number of rows."""
    for row in rows:
        record = row.outcomes[0].record
        named = reproduces.named(row.method, _model(record)) == printed.method
        kept = record.subset.rows
        if named and (not printed.samples or abs(kept - float(printed.samples)) <= ALIKE * kept):
            return row
    return None


def _model(record: RunRecord) -> object:
    """The model by the name it was chosen by; None in records of before choices were kept."""
    chosen = record.config.get("chosen")
    return chosen.get("model") if isinstance(chosen, Mapping) else None


def _cells(
    printed: Printed, row: Row | None, benchmarks: Sequence[str], reproduces: Reproduces, comparison: Comparison | None
) -> tuple[str, ...]:
    scores = [_cell(printed.values.get(name), row, None if row is None else row.score(name)) for name in benchmarks]
    told = f"{float(printed.samples):,.0f}" if printed.samples else UNKNOWN
    rel = None if row is None or comparison is None else _rel(row, reproduces, comparison)
    return printed.method, told, printed.evidence, *scores, _cell(printed.values.get(REL), row, rel)


def _rel(row: Row, reproduces: Reproduces, comparison: Comparison) -> Estimate | None:
    base = next((other for other in comparison.rows if other.method == reproduces.relative_to), None)
    if base is None:
        return None
    against = {name: found.mean for name in comparison.benchmarks if (found := base.score(name)) is not None}
    return Estimate.of([relative(scores_of(o.record), against, comparison.benchmarks) for o in row.outcomes])


def _cell(printed: float | None, row: Row | None, ours: Estimate | None) -> str:
    told = UNKNOWN if printed is None else f"{printed:g}"
    if row is None:
        return f"{told} / {NOT_RUN} / –"
    difference = UNKNOWN if printed is None or ours is None else f"{ours.mean - printed:+.1f}"
    return f"{told} / {format_estimate(ours, 1, 'missing')} / {difference}"
