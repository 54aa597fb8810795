"""Run a suite on a model, benchmark by benchmark, keeping every answer."""

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from selectmm.evaluation import multimodal, text
from selectmm.evaluation.generate import generate
from selectmm.evaluation.judge import Server
from selectmm.evaluation.judging import Judging, judge_all
from selectmm.evaluation.outcome import Answer, Outcome
from selectmm.evaluation.results import read_entry, read_scores
from selectmm.evaluation.suite import Benchmark, Images, Score, Suite
from selectmm.evaluation.tasks import check_data, rendered
from selectmm.models.vlm import VLM
from selectmm.records.stage import write_atomically


def evaluate(vlm: VLM, suite: Suite, folder: Path, seed: int, images: Images = "shown") -> list[Score]:
    """Run the suite's benchmarks and return their scores, in the suite's order.

    Each benchmark writes ``<name>.answers.jsonl.gz`` and then ``<name>.json`` into ``folder`` as it finishes; one whose
    JSON is there is not run again, so that a killed evaluation continues.

    Args:
        vlm: the model, its adapter loaded, in eval mode.
        folder: a folder that belongs to this model, suite, seed and ``images`` alone.
        seed: of the shuffled images and of bootstrapped errors; greedy answers need none.
        images: ``blind`` asks the same questions without their images and ``shuffled`` with another item's image.
            Both leave the text benchmarks out: they have no images.

    Raises:
        UserError: see `rendered`, `check_data`, `multimodal.run`, `text.run` and `read_entry`. Benchmarks that had
            finished stay in ``folder``.
    """
    wanted = [b for b in suite.benchmarks if images == "shown" or b.harness == "lmms-eval"]
    missing = [benchmark for benchmark in wanted if not _finished(benchmark, suite, folder)]
    with rendered(suite.tasks, missing, suite.data) as tasks:
        for group in _groups(missing):
            outcomes = _run(vlm, suite, group, tasks, seed, images, folder)
            for benchmark in group:
                _write(vlm, suite, benchmark, outcomes[benchmark.name], folder, images)
    return read_scores(folder, replace(suite, benchmarks=wanted))


def _finished(benchmark: Benchmark, suite: Suite, folder: Path) -> bool:
    """Whether its results lie in ``folder`` (those of another evaluator are an error, see `read_entry`)."""
    file = folder / f"{benchmark.name}.json"
    return file.exists() and bool(read_entry(file, suite, benchmark))


def _groups(benchmarks: Sequence[Benchmark]) -> list[list[Benchmark]]:
    """Benchmarks that share a task, so that it is run once."""
    groups: dict[tuple[str, str], list[Benchmark]] = {}
    for benchmark in benchmarks:
        groups.setdefault((benchmark.harness, benchmark.task), []).append(benchmark)
    return list(groups.values())


def _run(
    vlm: VLM, suite: Suite, group: Sequence[Benchmark], tasks: Path, seed: int, images: Images, folder: Path
) -> dict[str, Outcome]:
    check_data(group[0].task, tasks)
    if group[0].harness == "lm-eval":
        model = text.language_model(vlm, suite.batch_size)
        return text.run(group, tasks, model, limit=suite.limit, seed=seed)
    what = " ".join(benchmark.name for benchmark in group)
    answer = partial(generate, vlm, batch_size=suite.batch_size, what=what)
    judging = _judging(suite, group[0], folder)
    settings = {"limit": suite.limit, "max_new_tokens": suite.max_new_tokens, "images": images, "seed": seed}
    return multimodal.run(group, tasks, answer, **settings, judging=judging)


def _judging(suite: Suite, benchmark: Benchmark, folder: Path) -> Judging | None:
    """How the benchmark's answers are judged, with a file in ``folder`` that keeps the judgements."""
    if benchmark.judge != "url" or not isinstance(suite.judge, Server):
        return None
    return partial(judge_all, suite.judge, benchmark.name, folder / f"{benchmark.name}.judgements.jsonl")


def _write(vlm: VLM, suite: Suite, benchmark: Benchmark, outcome: Outcome, folder: Path, images: Images) -> None:
    answers = f"{benchmark.name}.answers.jsonl.gz"
    _write_answers(folder / answers, outcome.answers)
    entry = {
        "benchmark": asdict(benchmark),
        "value": outcome.value,
        "stderr": outcome.stderr,
        "majority": outcome.majority,
        "items": len(outcome.answers),
        "images": images,
        "limit": suite.limit,
        "harness": multimodal.HARNESS if benchmark.harness == "lmms-eval" else text.HARNESS,
        "generation": {**outcome.generation, "batch_size": suite.batch_size, "dtype": str(vlm.model.dtype)},
        "prompts": _prompt_hash(vlm, benchmark, outcome.answers),
        "answers": answers,
    }
    write_atomically(folder / f"{benchmark.name}.json", json.dumps(entry, indent=1, ensure_ascii=False))


def _write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """One JSON object per line, gzipped without a time stamp, so that equal answers make equal files."""
    lines = "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(gzip.compress(lines.encode(), mtime=0))
    beside.replace(path)


def _prompt_hash(vlm: VLM, benchmark: Benchmark, answers: Sequence[Answer]) -> str:
    """16 hex characters over all prompts, and for a multimodal benchmark over the template they are put into."""
    template = asdict(vlm.family.template) if benchmark.harness == "lmms-eval" else None
    content = json.dumps([template, [answer.prompt for answer in answers]], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def read_answers(path: Path) -> list[Answer]:
    """The per-item answers that a benchmark wrote."""
    return [Answer(**json.loads(line)) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]
