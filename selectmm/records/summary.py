"""The main numbers of a record, as ``--json`` gives them."""

from dataclasses import asdict
from typing import Any

from selectmm.records.record import RunRecord


def summary(record: RunRecord) -> dict[str, Any]:
    """What a run was, its scores by benchmark, and the cost of each stage; the record's file has everything."""
    return {
        "name": record.name,
        "experiment": record.experiment,
        "method": record.method.name,
        "budget": record.budget,
        "seed": record.seed,
        "pool_rows": record.pool.rows,
        "rows": record.subset.rows,
        "scores": {s.benchmark: {"value": s.value, "stderr": s.stderr, "items": s.items} for s in record.scores},
        "costs": {
            stage: {name: cost[name] for name in ("seconds", "device_seconds", "cached")}
            for stage, cost in asdict(record.costs).items()
        },
    }
