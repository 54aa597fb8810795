"""What the leaderboard shows, as plain data: boards of comparable rows, their runs behind them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selectmm.counted import counted
from selectmm.records.groups import Group, comparable, conditions, recipe_of
from selectmm.records.record import RunRecord
from selectmm.report.leaderboard.apart import apart_in_words
from selectmm.report.names import name_of
from selectmm.report.pages.columns import tip_of
from selectmm.report.references import references_among
from selectmm.report.relative import is_full
from selectmm.report.rows import Comparison, Estimate, Row, compare
from selectmm.report.verdict import rel_margin

Plain = dict[str, Any]


def boards_of(records: Mapping[str, RunRecord], references: Sequence[Path] = ()) -> list[Plain]:
    """One board per group of comparable records, whatever experiment they were made for; a run is shown once.

    Args:
        records: by the address of their file as seen from the page, which a row names as its source.
        references: files of reference scores; a board takes those of its base model and prompts.

    Returns:
        Boards with most methods first; each has its conditions, benchmarks and rows, ready for JSON.
    """
    files = _once(records)
    shown = [records[of_run[0]] for of_run in files]
    file_of = {id(record): of_run for record, of_run in zip(shown, files, strict=True)}
    groups = sorted(comparable(shown), key=_most_methods)
    return [
        _board(group, references, file_of, records) | {"differs": differs}
        for group, differs in zip(groups, apart_in_words(groups), strict=True)
    ]


def _most_methods(group: Group) -> tuple[int, int]:
    """A place in order: the board that compares most methods first; of two alike, the one of more runs."""
    return -len({record.method.name for record in group.records}), -len(group.records)


def _once(records: Mapping[str, RunRecord]) -> list[list[str]]:
    """The files of every run, that to be shown first: experiments share runs, and somebody may have made one again.

    It is that of the experiment with the most records, then the oldest: costs compare inside one sweep, and who adds a
    row with a full run of their own does not change everybody's.
    """
    size = Counter(record.experiment for record in records.values())
    runs: dict[str, list[str]] = {}
    for file, record in sorted(records.items(), key=lambda one: (-size[one[1].experiment], one[1].finished, one[0])):
        runs.setdefault(_run(record), []).append(file)
    return sorted(runs.values())


def _run(record: RunRecord) -> str:
    """What two records of one run agree in: all that makes them comparable, and what tells rows and seeds apart."""
    budget = 1.0 if is_full(record) else record.budget
    asked = [record.method.name, record.method.options, budget, *recipe_of(record), record.seed]
    return json.dumps([*asked, conditions(record)], sort_keys=True)


def _board(
    group: Group, references: Sequence[Path], files: Mapping[int, list[str]], records: Mapping[str, RunRecord]
) -> Plain:
    comparison = compare(group.records, references_among(references, group.records))
    first = group.records[0]
    rows = counted(first.pool.rows, "row")
    return {
        "scale": first.scale,
        "pool": f"{name_of(first.config.get('pool'))} ({rows}, {first.pool.fingerprint[:8]})",
        "model": f"{name_of(first.config.get('model'))} ({first.model[:8]})",
        "suite": first.suite.name,
        "apart": group.apart,
        "benchmarks": [_benchmark(name, comparison) for name in comparison.benchmarks],
        "rows": [_row(row, comparison, files, records) for row in comparison.rows],
    }


def _benchmark(name: str, comparison: Comparison) -> Plain:
    known = [score.chance for record in comparison.records for score in record.scores if score.benchmark == name]
    return {
        "name": name,
        "chance": next((c for c in known if c is not None), None),
        "counts": name not in comparison.chance,
        "tip": tip_of("", name in comparison.chance),
    }


def _row(row: Row, comparison: Comparison, files: Mapping[int, list[str]], records: Mapping[str, RunRecord]) -> Plain:
    made = [records[file] for outcome in row.outcomes for file in files[id(outcome.record)]]
    return {
        "name": row.method,
        "names": list(dict.fromkeys(record.name for record in made)),  # a link to any of them finds the row
        "experiments": sorted({record.experiment for record in made}),
        "seeds": len(row.outcomes),
        "method": row.label,
        "budget": 100 * row.budget,
        "recipe": row.recipe,
        "rel": _estimate(row.rel),
        "rel_items": rel_margin(row, comparison),
        "share": _estimate(row.share),
        "osc": _estimate(row.osc),
        "selection": row.selection,
        "tuning": row.tuning,
        "total": row.total,
        "scores": {name: _estimate(row.score(name)) for name in comparison.benchmarks},
        "runs": [_run_details(outcome.record, files[id(outcome.record)]) for outcome in row.outcomes],
    }


def _estimate(estimate: Estimate | None) -> Plain | None:
    return None if estimate is None else {"mean": estimate.mean, "sd": estimate.sd, "n": estimate.n}


def _run_details(record: RunRecord, files: list[str]) -> Plain:
    origin, coverage = record.provenance, record.subset.coverage
    return {
        "file": files[0],
        "again": files[1:],
        "experiment": record.experiment,
        "seed": record.seed,
        "finished": record.finished,
        "command": origin.command,
        "commit": (origin.commit or "unknown")[:10] + (" + uncommitted changes" if origin.dirty else ""),
        "machine": str(origin.hardware),
        "rows": record.subset.rows,
        "different": coverage.kept_distinct,
        "steps": record.recipe.steps,
        "scores": [
            {"benchmark": s.benchmark, "value": s.value, "stderr": s.stderr, "items": s.items, "chance": s.chance}
            for s in record.scores
        ],
        "sources": [
            {"source": name, "pool": counts.pool, "kept": counts.kept} for name, counts in coverage.per_source.items()
        ],
        "deviations": list(record.deviations),
    }
