"""Read a finished evaluation back from its folder."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

from selectmm.cache.source_code import code_of
from selectmm.errors import UserError
from selectmm.evaluation.judge import Server
from selectmm.evaluation.local import local_files
from selectmm.evaluation.outcome import Answer
from selectmm.evaluation.suite import Benchmark, Score, Suite
from selectmm.paths import PACKAGE

# Of models/: what makes a model's input out of a question, and a loss out of its answer.
PROMPTS = ("encode.py", "render.py", "video.py", "inputs.py", "losses.py")
KEPT = ("harness", "task_files", "generation", "prompts", "material", "limit", "items", "batching")


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


def read_answers(path: Path) -> list[Answer]:
    """The per-item answers that a benchmark wrote."""
    return [Answer(**json.loads(line)) for line in gzip.decompress(path.read_bytes()).decode().split("\n")[:-1]]


def read_manifest(folder: Path, suite: Suite) -> dict[str, object]:
    """What a score depends on besides the model, by benchmark: task, judge, harness, settings, and hashes of the task's
    files and our code for it (``task_files``), of the prompts, and of items, targets and pictures (``material``)."""
    return {
        benchmark.name: {
            "task": benchmark.task,
            "metric": benchmark.metric,
            "judge": benchmark.judge,
            **{key: entry[key] for key in KEPT},
        }
        for benchmark, entry in _entries(folder, suite)
    }


def _entries(folder: Path, suite: Suite) -> list[tuple[Benchmark, Mapping[str, object]]]:
    return [
        (benchmark, read_entry(folder / f"{benchmark.name}.json", suite, benchmark)) for benchmark in suite.benchmarks
    ]


def read_entry(file: Path, suite: Suite, benchmark: Benchmark) -> Mapping[str, object]:
    """What `selectmm.evaluation.evaluate.evaluate` wrote of one benchmark.

    Raises:
        UserError: the file cannot be read, or was written by another harness, for another task or by another judge.
    """
    try:
        entry = json.loads(file.read_text())
        made = {**entry["benchmark"], "harness": entry["harness"], "limit": entry["limit"], "judge": _judge(entry)}
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UserError(
            f"The results file {file} cannot be read ({problem!r}); delete it, and start again."
        ) from problem
    judge = suite.judge.model if benchmark.judge == "url" and isinstance(suite.judge, Server) else benchmark.judge
    harness = f"{benchmark.harness} {version(benchmark.harness)}"
    asked = {"harness": harness, "task": benchmark.task, "metric": benchmark.metric, "scale": benchmark.scale}
    for key, value in {**asked, "limit": suite.limit, "judge": judge}.items():
        if made.get(key) != value:
            raise UserError(
                f"The results file {file} is another evaluator's: its {key} is {made.get(key)}, here it is {value}; "
                f"delete it, or set 'cache' to another folder."
            )
    return entry


def _judge(entry: Mapping[str, object]) -> object:
    """The name of the judge model that scored, or which rules did."""
    judge = entry["generation"].get("judge")
    return entry["benchmark"]["judge"] if judge is None else judge["model"]


def identity_of(suite: Suite) -> dict[str, object]:
    """What an evaluation depends on besides the model: suite, harnesses, task YAMLs, local data and our own code."""
    code = [file for file in _all_files(PACKAGE / "evaluation") if file.suffix in (".py", ".yaml")]
    code += [PACKAGE / "models" / name for name in PROMPTS]
    tasks = None if suite.tasks is None else _content_of(suite.tasks, _all_files(suite.tasks))
    data = None if suite.data is None else _content_of(suite.data, local_files(suite))
    asked = isinstance(suite.judge, Server) and any(benchmark.judge == "url" for benchmark in suite.benchmarks)
    judge = suite.judge.model if asked else None
    places = {"tasks": tasks, "data": data, "judge": judge}  # what is there, not where it is
    versions = {name: version(name) for name in ("lmms-eval", "lm-eval")}
    return {**asdict(suite), **places, "ours": _content_of(PACKAGE, code), "harnesses": versions}


def _all_files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name != "stage.json" and path.suffix != ".pyc")


def _content_of(folder: Path, files: Sequence[Path]) -> str:
    """A fingerprint of a folder's files, wherever the folder lies."""
    content = hashlib.sha256()
    for file in files:
        content.update(str(file.relative_to(folder)).encode())
        content.update(_digest(file, file.stat().st_size, file.stat().st_mtime_ns))
    return content.hexdigest()[:16]


@cache
def _digest(file: Path, size: int, changed: int) -> bytes:
    """Of one file's content, of our own Python without comments; the jobs of a sweep read gigabytes once."""
    if file.suffix == ".py" and file.is_relative_to(PACKAGE):
        return hashlib.sha256(code_of(file.read_text(encoding="utf-8")).encode()).digest()
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
