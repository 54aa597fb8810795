"""Read a finished evaluation back from its folder."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from selectmm.evaluation.suite import Score, Suite


def read_scores(folder: Path, suite: Suite) -> list[Score]:
    """The scores that `selectmm.evaluation.evaluate.evaluate` wrote into ``folder``, in the suite's order."""
    return [
        Score(
            benchmark=benchmark.name,
            value=entry["value"],
            stderr=entry["stderr"],
            items=entry["items"],
            chance=benchmark.chance,
            answers=entry["answers"],
            majority=entry["majority"],
        )
        for benchmark, entry in _entries(folder, suite)
    ]


def read_manifest(folder: Path, suite: Suite) -> dict[str, object]:
    """What a score depends on besides the model: per benchmark task, judge, harness, settings and prompts' hash."""
    return {
        benchmark.name: {
            "task": benchmark.task,
            "metric": benchmark.metric,
            "judge": benchmark.judge,
            **{key: entry[key] for key in ("harness", "generation", "prompts", "limit", "items")},
        }
        for benchmark, entry in _entries(folder, suite)
    }


def _entries(folder: Path, suite: Suite) -> list[tuple[object, Mapping[str, object]]]:
    return [(b, json.loads((folder / f"{b.name}.json").read_text())) for b in suite.benchmarks]


def identity_of(suite: Suite) -> dict[str, object]:
    """What an evaluation depends on besides the model: the suite, the harnesses, all task YAMLs and local data."""
    tasks = None if suite.tasks is None else _content_of(suite.tasks)
    versions = {name: version(name) for name in ("lmms-eval", "lm-eval")}
    return {**asdict(suite), "tasks": tasks, "ours": _content_of(Path(__file__).parent), "harnesses": versions}


def _content_of(tasks: Path) -> str:
    """A fingerprint of a folder's files, wherever the folder lies."""
    content = hashlib.sha256()
    for file in sorted(
        path for path in tasks.rglob("*") if path.is_file() and path.name != "stage.json" and path.suffix != ".pyc"
    ):
        content.update(str(file.relative_to(tasks)).encode())
        with file.open("rb") as stream:
            content.update(hashlib.file_digest(stream, "sha256").digest())
    return content.hexdigest()[:16]
