"""Records of earlier schemas, completed: what those did not keep stands as unknown."""

from collections.abc import Mapping
from typing import Any

from selectmm.cache.reading import Mismatch

READ_TOO = (2, 3, 4, 5, 6)
NOT_KEPT_BEFORE = {"answers": None, "contamination": None}  # by schema 2; neither kept the threads
STATIC: dict[str, object] = {"schedule": None, "curve": []}  # before there were schedules
NOT_NAMED = {"targets": None, "evaluations": None}  # by schema 5
NOT_HELD = {"code": None}  # by schema 6
NOT_HASHED = {"task_files": "", "material": "", "limit": None}  # of a benchmark, by the first evaluators
NOT_COUNTED = {"busy_seconds": None, "flops": None}  # of a stage, by schema 4


def completed(content: Mapping[str, Any], schema: int) -> dict[str, Any]:
    """A record of a schema of `READ_TOO` as one of ``schema``.

    Raises:
        Mismatch: a part of it is no object.
    """
    origin = content.get("provenance")
    if isinstance(origin, dict) and isinstance(origin.get("hardware"), dict):
        content = {**content, "provenance": {**origin, "hardware": {"threads": None, **origin["hardware"]}}}
    subset, suite = _object(content, "subset"), _object(content, "suite")
    if isinstance(subset.get("coverage"), dict):
        content = {**content, "subset": {**subset, "coverage": _coverage(subset)}}
    if isinstance(suite.get("evaluator"), dict):
        known = {
            k: {**NOT_HASHED, "batching": None, **v} if isinstance(v, dict) else v
            for k, v in suite["evaluator"].items()
        }
        content = {**content, "suite": {**suite, "evaluator": known}}
    costs = content.get("costs")
    if isinstance(costs, dict):
        timed = {k: {**NOT_COUNTED, **v} if isinstance(v, dict) else v for k, v in costs.items()}
        content = {**content, "costs": timed}
    before = NOT_KEPT_BEFORE if content.get("schema") == 2 else {}
    return {**before, **STATIC, **NOT_NAMED, **NOT_HELD, **content, "schema": schema}


def _coverage(subset: Mapping[str, Any]) -> dict[str, Any]:
    """The different rows were not counted at first: no method chose a row twice."""
    return {"kept_distinct": subset.get("rows"), **subset["coverage"]}


def _object(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = content.get(name)
    if not isinstance(value, dict):
        raise Mismatch(f"field '{name}' is {value!r:.60}, not an object")
    return value
