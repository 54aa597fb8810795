"""What the leaderboard shows, as plain data: boards of comparable rows, their runs behind them."""

from collections.abc import Mapping

from selectmm.records.record import RunRecord
from selectmm.report.groups import Group, comparable
from selectmm.report.names import name_of
from selectmm.report.references import References
from selectmm.report.rows import Comparison, Estimate, Row, compare

Plain = dict[str, object]


def boards_of(records: Mapping[str, RunRecord], references: References) -> list[Plain]:
    """One board per group of comparable records, whatever experiment they were made for; a run is shown once.

    Args:
        records: by the name of their file, which a row names as its source.
        references: base scores by benchmark, as for a table.

    Returns:
        Boards with most rows first; each has its conditions, benchmarks and rows, ready for JSON.
    """
    once = _once(records)
    files = {id(record): file for file, record in once.items()}
    groups = sorted(comparable(list(once.values())), key=lambda group: -len(group.records))
    return [_board(group, references, files) for group in groups]


def _once(records: Mapping[str, RunRecord]) -> dict[str, RunRecord]:
    """The newest record of every run: experiments share runs, which differ in nothing but who asked."""
    newest: dict[tuple[object, ...], str] = {}
    for file, record in sorted(records.items(), key=lambda item: (item[1].finished, item[0])):
        newest[_run(record)] = file
    return {file: records[file] for file in sorted(newest.values())}


def _run(record: RunRecord) -> tuple[object, ...]:
    told = record.method.name, repr(sorted(record.method.options.items())), record.seed, record.recipe.name
    return (
        *told,
        record.subset.fingerprint,
        record.model,
        record.scale,
        record.suite.name,
        repr(record.suite.evaluator),
    )


def _board(group: Group, references: References, files: Mapping[int, str]) -> Plain:
    comparison = compare(group.records, references)
    first = group.records[0]
    return {
        "scale": first.scale,
        "pool": f"{name_of(first.config.get('pool'))} ({first.pool.rows:,} rows, {first.pool.fingerprint[:8]})",
        "model": f"{name_of(first.config.get('model'))} ({first.model[:8]})",
        "suite": first.suite.name,
        "apart": group.apart,
        "benchmarks": [_benchmark(name, comparison) for name in comparison.benchmarks],
        "rows": [_row(row, comparison, files) for row in comparison.rows],
    }


def _benchmark(name: str, comparison: Comparison) -> Plain:
    known = [score.chance for record in comparison.records for score in record.scores if score.benchmark == name]
    return {
        "name": name,
        "chance": next((c for c in known if c is not None), None),
        "counts": name not in comparison.chance,
    }


def _row(row: Row, comparison: Comparison, files: Mapping[int, str]) -> Plain:
    return {
        "method": row.label,
        "budget": 100 * row.budget,
        "recipe": row.recipe,
        "rel": _estimate(row.rel),
        "share": _estimate(row.share),
        "osc": _estimate(row.osc),
        "selection": row.selection,
        "tuning": row.tuning,
        "scores": {name: _estimate(row.score(name)) for name in comparison.benchmarks},
        "runs": [_told(outcome.record, files[id(outcome.record)]) for outcome in row.outcomes],
    }


def _estimate(estimate: Estimate | None) -> Plain | None:
    return None if estimate is None else {"mean": estimate.mean, "sd": estimate.sd, "n": estimate.n}


def _told(record: RunRecord, file: str) -> Plain:
    origin, per_source = record.provenance, record.subset.coverage.get("per_source", {})
    return {
        "file": file,
        "seed": record.seed,
        "finished": record.finished,
        "command": origin.command,
        "commit": (origin.commit or "unknown")[:10] + (" + uncommitted changes" if origin.dirty else ""),
        "machine": " + ".join([f"{origin.hardware.cores} cores of {origin.hardware.cpu}", *origin.hardware.gpus]),
        "rows": record.subset.rows,
        "steps": record.recipe.steps,
        "scores": [
            {"benchmark": s.benchmark, "value": s.value, "stderr": s.stderr, "items": s.items} for s in record.scores
        ],
        "sources": [{"source": name, "pool": told["pool"], "kept": told["kept"]} for name, told in per_source.items()],
        "deviations": list(record.deviations),
    }
