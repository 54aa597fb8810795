"""Evaluate a released checkpoint and judge the evaluator by it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from selectmm.cache.provenance import Provenance, provenance
from selectmm.cache.stage import run_stage, write_atomically
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.outcome import Answer
from selectmm.evaluation.results import identity_of, read_answers, read_manifest, read_scores
from selectmm.evaluation.suite import Score, Suite
from selectmm.models.vlm import VLM
from selectmm.verification.bands import Released
from selectmm.verification.verdicts import Verdict, verdicts


@dataclass(frozen=True)
class Verification:
    """What was found, and all that the scores depend on.

    Attributes:
        evaluator: by benchmark task, its files' hash, metric, scale, judge, harness, settings (batch, dtype, padding,
            tokens), the prompts' hash and items.
        suite: hashes of the suite's data and of our own evaluation code, and the harnesses' versions.
        template: the conversation format that the prompts were put into.
        changed: benchmarks whose prompts are others than when the compared scores were recorded.
    """

    released: str
    source: str
    model: str
    verdicts: tuple[Verdict, ...]
    changed: tuple[str, ...]
    evaluator: Mapping[str, Mapping[str, Any]]
    suite: Mapping[str, Any]
    template: Mapping[str, Any]
    provenance: Provenance


def verify(vlm: VLM, suite: Suite, released: Released, cache: Path, seed: int) -> Verification:
    """Evaluate the model on the suite (from the cache if that was done) and compare with what was released.

    Raises:
        UserError: of the evaluation.
    """
    identity = {"model": vlm.identity, "suite": identity_of(suite), "images": "shown", "seed": seed}

    def make(folder: Path) -> None:
        evaluate(vlm, suite, folder, seed)

    stage = run_stage(cache, "reference", identity, make)  # the name and identity that `references` uses too
    return judged(vlm, suite, released, stage.folder)


def judged(vlm: VLM, suite: Suite, released: Released, folder: Path) -> Verification:
    """Judge a finished evaluation that lies in ``folder``."""
    benchmarks = cast(Mapping[str, Mapping[str, Any]], read_manifest(folder, suite))
    manifest = {one.name: {**benchmarks[one.name], "scale": one.scale} for one in suite.benchmarks}

    def answers(score: Score) -> list[Answer]:
        return read_answers(folder / score.answers)

    return Verification(
        released=released.name,
        source=released.source,
        model=vlm.identity,
        verdicts=tuple(verdicts(read_scores(folder, suite), manifest, released, suite.limit, answers)),
        changed=tuple(_changed(manifest, released.manifest)),
        evaluator=manifest,
        suite={key: value for key, value in identity_of(suite).items() if key in ("tasks", "ours", "harnesses")},
        template=asdict(vlm.family.template),
        provenance=provenance(),
    )


def save(found: Verification, path: Path) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n")


def _changed(ours: Mapping[str, Mapping[str, Any]], theirs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name in ours if name in theirs and ours[name]["prompts"] != theirs[name]["prompts"]]
