"""Invented records with answers beside them."""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from selectmm.evaluation.outcome import Answer
from selectmm.records.answers import keep_answers
from selectmm.records.files import save
from tests.report.runs import run_of


def answers(right: Sequence[float | None], pictures: Sequence[str] | None = None) -> list[Answer]:
    """Answers with the given scores."""
    pictures = pictures or [""] * len(right)
    return [
        Answer(str(n), f"Question {n}?", "yes", "yes\u2028or no", score, picture)
        for n, (score, picture) in enumerate(zip(right, pictures, strict=True))
    ]


def written(
    folder: Path,
    method: str,
    made: Mapping[str, Sequence[Answer]],
    values: Mapping[str, float] | None = None,
    evaluator: Mapping[str, object] | None = None,
    **more: object,
) -> Path:
    """A record of ``made`` under ``folder`` as a run writes it; the scores are the means, or ``values``."""
    means = {name: 100 * sum(a.score or 0 for a in given) / len(given) for name, given in made.items()}
    items = {name: len(given) for name, given in made.items()}
    manifest = {name: evaluator or {} for name in made}
    record = run_of(method, {**means, **(values or {})}, evaluator=manifest, items=items, **more)
    stage = folder / f"stage-{method}"
    stage.mkdir(parents=True, exist_ok=True)
    for score in record.scores:
        lines = "".join(json.dumps(asdict(answer)) + "\n" for answer in made[score.benchmark])
        (stage / score.answers).write_bytes(gzip.compress(lines.encode()))
    kept = keep_answers(stage, record.scores, folder / "records", record.name)
    return save(replace(record, answers=kept), folder / "records")
