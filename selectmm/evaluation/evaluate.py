"""Run a suite on a model, benchmark by benchmark, keeping every answer."""

import gzip
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from selectmm.cache.stage import write_atomically
from selectmm.evaluation import multimodal, text
from selectmm.evaluation.answering import EVERYTHING, Responses, Share, ShareAnswered
from selectmm.evaluation.batching import Batching
from selectmm.evaluation.decode import batch_invariant
from selectmm.evaluation.generate import Answerer, Backend, answered, in_batches, prompts_of, with_own_processor
from selectmm.evaluation.judge import Server
from selectmm.evaluation.judging import Judging, judge_all
from selectmm.evaluation.language_model import language_model
from selectmm.evaluation.likelihood import Rater, answer_losses, rated_in_batches
from selectmm.evaluation.outcome import Answer, Outcome
from selectmm.evaluation.results import read_entry, read_scores
from selectmm.evaluation.suite import Benchmark, Images, Score, Suite
from selectmm.evaluation.task_hash import task_hash
from selectmm.evaluation.tasks import check_data, rendered
from selectmm.models.memory import enough_memory
from selectmm.models.vlm import VLM


def evaluate(
    vlm: VLM,
    suite: Suite,
    folder: Path,
    seed: int,
    images: Images = "shown",
    backend: Backend | None = None,
) -> list[Score]:
    """Run the suite's benchmarks and return their scores, in the suite's order.

    Each benchmark writes ``<name>.answers.jsonl.gz`` and then ``<name>.json`` into ``folder`` as it finishes; one whose
    JSON is there is not run again. Until then its answers are kept batch by batch, so that a killed evaluation
    continues with the question that it was at, and so do answers that ranks left there (`answer_share`). Neither that
    nor the number of ranks changes an answer, nor does the batch size in float32 on a CPU; elsewhere the JSON says of
    how many items of a sample it does (``batching``).

    Args:
        vlm: the model, its adapter loaded, in eval mode.
        folder: a folder that belongs to this model, suite, seed and ``images`` alone.
        seed: of the shuffled images and of bootstrapped errors; greedy answers need none.
        images: ``blind`` asks the same questions without their images and ``shuffled`` with another item's image.
            Both leave the text benchmarks out: they have no images.
        backend: answers in the place of ``vlm``, of which only the template and the tokens are used then.

    Raises:
        UserError: see `rendered`, `check_data`, `multimodal.run`, `text.run` and `read_entry`. Benchmarks that had
            finished stay in ``folder``.
    """
    wanted = _wanted(suite, images)
    for group, tasks in _unfinished(suite, wanted, folder):
        responses = _responses(folder, group)
        batching = Batching(batch_invariant(vlm) if backend is None else backend.batch_invariant)
        outcomes = _run(vlm, suite, group, tasks, seed, images, responses, batching, backend)
        for benchmark in group:
            _write(vlm, suite, benchmark, outcomes[benchmark.name], folder, images, batching, backend)
        responses.clear()
    for group in _groups(wanted):  # what a kill just before the line above left
        _responses(folder, group).clear()
    return read_scores(folder, replace(suite, benchmarks=wanted, only=None))


def answer_share(
    vlm: VLM, suite: Suite, folder: Path, seed: int, images: Images, share: Share
) -> Iterator[Sequence[Benchmark]]:
    """Answer a share of every benchmark's questions into ``folder``, where `evaluate` finds and scores the answers.

    Yields benchmarks (those that share a task) as they are done.
    """
    for group, tasks in _unfinished(suite, _wanted(suite, images), folder):
        responses = _responses(folder, group, share)
        with suppress(ShareAnswered):
            _run(vlm, suite, group, tasks, seed, images, responses, Batching(batch_invariant(vlm)), backend=None)
        yield group


def unfinished(suite: Suite, images: Images, folder: Path) -> list[Sequence[Benchmark]]:
    """Benchmarks without a result in ``folder``, those that share a task together: what `answer_share` goes through.

    Raises:
        UserError: a result there is another evaluator's, see `read_entry`.
    """
    return _groups([benchmark for benchmark in _wanted(suite, images) if not _finished(benchmark, suite, folder)])


def warnings_of(folder: Path, suite: Suite) -> list[str]:
    """What is odd about a finished evaluation's answers, for the record; how many they are stands in ``folder``."""
    entries = [(b.name, json.loads((folder / f"{b.name}.json").read_text())) for b in suite.benchmarks]
    cut = [f"Some answers of {name} were cut at the token cap." for name, entry in entries if entry["cut"]]
    empty = [f"Some answers of {name} were empty." for name, entry in entries if entry["empty"]]
    shortened = [name for name, entry in entries if "shortened_prompts" in entry["generation"]]
    lost = [f"Some prompts of {name} lost their beginning, to fit into the model's window." for name in shortened]
    return [*cut, *empty, *lost]


def _wanted(suite: Suite, images: Images) -> list[Benchmark]:
    return [b for b in suite.benchmarks if images == "shown" or b.harness == "lmms-eval"]


def _unfinished(suite: Suite, wanted: Sequence[Benchmark], folder: Path) -> Iterator[tuple[list[Benchmark], Path]]:
    """Groups of benchmarks that have no result in ``folder`` yet, each with the folder of its task's YAML."""
    missing = [benchmark for benchmark in wanted if not _finished(benchmark, suite, folder)]
    with rendered(suite.tasks, missing, suite.data) as tasks:
        for group in _groups(missing):
            if not all((folder / f"{benchmark.name}.json").exists() for benchmark in group):  # by another process
                yield group, tasks


def _finished(benchmark: Benchmark, suite: Suite, folder: Path) -> bool:
    """Whether its results lie in ``folder`` (those of another evaluator are an error, see `read_entry`)."""
    file = folder / f"{benchmark.name}.json"
    return file.exists() and bool(read_entry(file, suite, benchmark))


def _responses(folder: Path, group: Sequence[Benchmark], share: Share = EVERYTHING) -> Responses:
    return Responses(folder, group[0].task, " ".join(benchmark.name for benchmark in group), share)


def _groups(benchmarks: Sequence[Benchmark]) -> list[list[Benchmark]]:
    """Benchmarks that share a task, so that it is run once."""
    groups: dict[tuple[str, str], list[Benchmark]] = {}
    for benchmark in benchmarks:
        groups.setdefault((benchmark.harness, benchmark.task), []).append(benchmark)
    return list(groups.values())


def _run(
    vlm: VLM,
    suite: Suite,
    group: Sequence[Benchmark],
    tasks: Path,
    seed: int,
    images: Images,
    responses: Responses,
    batching: Batching,
    backend: Backend | None,
) -> dict[str, Outcome]:
    check_data(group[0].task, tasks)
    with enough_memory(f"{group[0].name} was asked, one question at a time", _SMALLER):
        if group[0].harness == "lm-eval":
            model = language_model(vlm, suite.batch_size, responses, batching, backend)
            noted = {"cut": model.cut, "shortened": model.shortened}
            return text.run(group, tasks, model, limit=suite.limit, seed=seed, **noted)
        answer, rate = _answering(vlm, suite.batch_size, responses, batching, backend)
        judging = _judging(suite, group[0], responses.folder)
        settings = {"limit": suite.limit, "max_new_tokens": suite.max_new_tokens, "images": images, "seed": seed}
        return multimodal.run(group, tasks, answer, **settings, judging=judging, rate=rate)


def _answering(
    vlm: VLM, size: int, responses: Responses, batching: Batching, backend: Backend | None
) -> tuple[Answerer, Rater | None]:
    """What answers questions about images, and what gives losses of answers, if anything does."""
    if backend is not None:  # which reads ahead itself
        return in_batches(backend.answer, backend.size, responses, batching), None
    ahead = vlm.model.device.type == "cuda"  # on a CPU the model and the pictures share the cores
    prompts = partial(prompts_of, with_own_processor(vlm) if ahead else vlm)
    answer = in_batches(partial(answered, vlm), size, responses, batching, prompts, ahead)
    return answer, rated_in_batches(partial(answer_losses, vlm), size, responses)


_SMALLER = "choose a smaller model, or a GPU with more memory"


def _judging(suite: Suite, benchmark: Benchmark, folder: Path) -> Judging | None:
    """How the benchmark's answers are judged, with a file in ``folder`` that keeps the judgements."""
    if benchmark.judge != "url" or not isinstance(suite.judge, Server):
        return None
    return partial(judge_all, suite.judge, benchmark.name, folder / f"{benchmark.name}.judgements.jsonl")


def _write(
    vlm: VLM,
    suite: Suite,
    benchmark: Benchmark,
    outcome: Outcome,
    folder: Path,
    images: Images,
    batching: Batching,
    backend: Backend | None,
) -> None:
    answers = f"{benchmark.name}.answers.jsonl.gz"
    _write_answers(folder / answers, outcome.answers)
    generation = {**outcome.generation, "batch_size": suite.batch_size, "dtype": str(vlm.model.dtype)}
    if backend is not None:
        generation |= {"backend": backend.name, "batch_size": backend.size}
    entry = {
        "benchmark": asdict(benchmark),
        "value": outcome.value,
        "stderr": outcome.stderr,
        "majority": outcome.majority,
        "items": len(outcome.answers),
        "cut": sum(answer.cut for answer in outcome.answers),
        "empty": sum(not answer.answer.strip() for answer in outcome.answers),
        "images": images,
        "limit": suite.limit,
        "harness": multimodal.HARNESS if benchmark.harness == "lmms-eval" else text.HARNESS,
        "generation": generation,
        "batching": asdict(batching),
        "prompts": _prompt_hash(vlm, benchmark, outcome.answers),
        "material": _hash([[answer.item, answer.target, answer.image] for answer in outcome.answers]),
        "task_files": task_hash(benchmark, suite.tasks),
        "answers": answers,
    }
    write_atomically(folder / f"{benchmark.name}.json", json.dumps(entry, indent=1, ensure_ascii=False))


def _write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """One JSON object per line, gzipped without a time stamp, so that equal answers make equal files."""
    lines = "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers)
    write_atomically(path, gzip.compress(lines.encode(), mtime=0))


def _prompt_hash(vlm: VLM, benchmark: Benchmark, answers: Sequence[Answer]) -> str:
    """16 hex characters over all prompts, and for a multimodal benchmark over the template they are put into.

    Of the template without what it says of tools, and of clips where it knows none: no prompt depends on them, and runs
    from before there were any stay comparable.
    """
    template = None
    if benchmark.harness == "lmms-eval":
        template = {name: value for name, value in asdict(vlm.family.template).items() if name != "tools"}
        template = {name: value for name, value in template.items() if name != "video" or value is not None}
    return _hash([template, [answer.prompt for answer in answers]])


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]
