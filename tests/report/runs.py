"""Invented run records for the report's tests."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from selectmm.cache.provenance import Hardware, Provenance
from selectmm.evaluation.suite import Score
from selectmm.records.record import (
    Costs,
    Coverage,
    Evaluated,
    MethodEntry,
    PoolEntry,
    RecipeEntry,
    RunRecord,
    StageCost,
    SubsetEntry,
    SuiteEntry,
)
from selectmm.report.references import References

ORIGIN = Provenance(
    command="python -m selectmm method=prism",
    commit="0123456789abcdef",
    dirty=False,
    python="3.11.7",
    packages={"lmms-eval": "0.7.3", "lm-eval": "0.4.13"},
    hardware=Hardware("toy processor", 2, 8.0, ()),
)
EVALUATED = Evaluated("toy", "exact_match", "none", "lmms-eval 0.7.3", "t0", {"batch_size": 8}, "p0", "m0", None, 100)


def run_of(
    method: str,
    scores: Mapping[str, float],
    *,
    seed: int = 0,
    budget: float = 0.3,
    length: str = "epochs",
    seconds: tuple[float, float, float] = (0.0, 0.0, 30.0),
    stderr: float | None = 1.0,
    cached: bool = False,
    evaluator: Mapping[str, Mapping[str, object]] | None = None,
    options: Mapping[str, object] | None = None,
    lr: float = 3e-4,
    steps: int | None = None,
    items: Mapping[str, int] | None = None,
) -> RunRecord:
    """A record whose features, select and finetune stages took ``seconds`` device-seconds.

    ``evaluator`` holds what differs from `EVALUATED`, by benchmark, ``items`` the items of each (else 100). ``steps``
    default to 10 for full and at equal steps, to 3 for a pass over a subset.
    """
    steps = steps or (10 if method == "full" or length == "steps" else 3)
    features, select, finetune = (StageCost(s, s, 1.0, cached) for s in seconds)
    rows = 100 if method == "full" else round(100 * budget)
    given = evaluator or {}
    described = {name: {"material": f"items of {name}", **given.get(name, {})} for name in {**scores, **given}}
    counts = items or {}
    return RunRecord(
        experiment="toy",
        scale="embedded",
        provenance=ORIGIN,
        config={"seed": seed},
        method=MethodEntry(method, options or {}),
        budget=budget,
        seed=seed,
        pool=PoolEntry("pool0", 100, {"coco": 60, "text": 40}),
        subset=SubsetEntry(f"{method}{seed}", rows, Coverage(100, 0, 0, rows, rows, {}, {})),
        recipe=RecipeEntry(f"toy-{length}", {"length": length, "lr": lr}, {"kind": "single", "devices": 1}, steps),
        suite=SuiteEntry("toy", {name: replace(EVALUATED, **entry) for name, entry in described.items()}),
        model="model0",
        costs=Costs(StageCost.of(), features, select, finetune, StageCost(9.0, 9.0, 1.0, cached)),
        scores=tuple(
            Score(name, value, stderr, counts.get(name, 100), None, f"{name}.jsonl") for name, value in scores.items()
        ),
        finished="2026-01-01T00:00:00Z",
    )


def references_file(path: Path, references: References, model: str = "model0") -> Path:
    """Write reference scores to ``path``, as measured on ``model`` with the prompts of `EVALUATED`; return it."""
    path.write_text(json.dumps({name: asdict(one) for name, one in references.items()}))
    suite = {name: {"prompts": EVALUATED.prompts} for name in references}
    path.with_suffix(".record.json").write_text(json.dumps({"model": model, "suite": suite}))
    return path
