"""Text benchmarks through lm-eval, on the language path of a VLM. Only this file and items.py know lm-eval (0.4.13)."""

import json
import logging
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from difflib import get_close_matches
from functools import lru_cache, partial
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.exceptions import DatasetsError

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.errors import UserError
from selectmm.evaluation.answering import Responses
from selectmm.evaluation.batching import Batching, sample
from selectmm.evaluation.decode import TOLERANCE, Reply, Until, decode, ends_of, one_thread
from selectmm.evaluation.generate import Backend, Scorer
from selectmm.evaluation.halves import Found, in_halves, in_smaller_batches
from selectmm.evaluation.outcome import Answer, Outcome, metric_key
from selectmm.evaluation.references import most_frequent_share
from selectmm.evaluation.standard_error import standard_error
from selectmm.evaluation.suite import Benchmark
from selectmm.models.encode import Batch
from selectmm.models.vlm import VLM
from selectmm.records.cost import computing

from lm_eval.api.instance import Instance  # isort: skip
from lm_eval.api.model import LM  # isort: skip
from lm_eval import evaluator  # isort: skip
from lm_eval.models.huggingface import HFLM  # isort: skip
from lm_eval.models.utils import normalize_gen_kwargs  # isort: skip
from lm_eval.tasks import TaskManager  # isort: skip

CHUNK = 8  # batches of likelihoods that are kept at once: HFLM sorts what it is given, and shares contexts in it
HARNESS = f"lm-eval {version('lm-eval')}"

# For every task, lm-eval asks pip, git and the compiler about the machine, which takes seconds. A record says it.
evaluator.add_env_info = lambda results: None
evaluator.get_git_commit_hash = lambda: None


def language_model(
    vlm: VLM, batch_size: int, responses: Responses, batching: Batching, backend: Backend | None = None
) -> "LanguageModel":
    """The VLM without images as a model of lm-eval's; what it answers is kept at ``responses``.

    Args:
        batching: is told how many of a sample change when they are asked alone, unless none can.
        backend: answers in the VLM's place, which then only makes the tokens.
    """
    with _quiet():
        theirs = (HFLM if backend is None else partial(_Elsewhere, backend.score))(
            pretrained=vlm.model,
            tokenizer=vlm.processor.tokenizer,
            backend="causal",
            batch_size=batch_size,
            device=str(vlm.model.device),
            max_length=vlm.model.config.get_text_config().max_position_embeddings,
        )
    return LanguageModel(vlm, theirs, responses, batching, backend)


class _Elsewhere(HFLM):
    """lm-eval's model whose tokens are its own and whose likelihoods come from a backend."""

    def __init__(self, score: Scorer, **named: Any) -> None:
        super().__init__(**named)
        self._score = score

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[object, list[int], list[int]]], *_: object, **_named: object
    ) -> list[tuple[float, bool]]:
        """The window holds the whole text and one token more, which vLLM has to generate."""
        pairs = []
        for _, context, continuation in requests:
            lost = max(0, len(context) + len(continuation) - (self.max_length - 1))
            pairs.append((context[lost:], continuation))
        return self._score(pairs)


class LanguageModel(LM):
    """Likelihoods are lm-eval's own; generated text is `decode`'s (the base class is demanded by lm-eval)."""

    def __init__(
        self, vlm: VLM, theirs: HFLM, responses: Responses, batching: Batching, backend: Backend | None
    ) -> None:
        super().__init__()
        self._vlm, self._theirs, self._responses = vlm, theirs, responses
        self._batching, self._backend = batching, backend
        self.cut: set[str] = set()  # items whose text was still going on at the cap
        self.shortened: set[str] = set()  # items whose prompt lost its beginning, because the window is too small

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether it is what greedy decoding says.

        Questions whose best options lie closer together than a batch's noise are asked again, each option alone, so
        that what is preferred does not depend on the batch. Where memory does not suffice, batches are smaller.
        """
        # A question's options have one context and stay together, which HFLM makes use of.
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].args[0]), requests[i].args[0], i))

        def ask(items: Sequence[int]) -> list[tuple[float, bool]]:
            with computing() if self._backend is None else nullcontext():  # which counts itself
                some = [requests[i] for i in items]
                return self._as_memory_allows(lambda: self._theirs.loglikelihood(some, disable_tqdm=True))

        room = self._theirs.max_length + (1 if self._backend is None else -1)
        for request in requests:
            self._note(request, "".join(request.args), room)
        chunk = CHUNK * self._theirs.batch_size if self._backend is None else self._backend.size
        found = self._responses.answer([request.args for request in requests], order, chunk, ask)

        def alone(items: Sequence[int]) -> list[tuple[float, bool]]:
            """Kept as well, so that after a kill none is asked a third time."""
            again = [["alone", *requests[i].args] for i in items]
            with one_thread():
                return self._responses.answer(
                    again, range(len(items)), 1, lambda places: ask([items[place] for place in places])
                )

        several = self._backend is not None or self._theirs.batch_size > 1
        if several and self._backend is None and self._batching.invariant:
            ties = _ties(requests, [value for value, _ in found], TOLERANCE)
            for item, other in zip(ties, alone(ties), strict=True):
                found[item] = other
        elif several and not self._batching.invariant:
            self._compare(requests, [value for value, _ in found], alone)
        return [(float(value), bool(said)) for value, said in found]

    def _compare(
        self,
        requests: Sequence[Instance],
        values: Sequence[float],
        alone: Callable[[Sequence[int]], Sequence[tuple[float, bool]]],
    ) -> None:
        """Of a sample of questions, whether another option is preferred where each is asked alone."""
        questions = list(_questions(requests).values())
        some = [questions[place] for place in sample(len(questions))]
        again = iter(alone([item for items in some for item in items]))
        for items in some:
            others = [value for value, _ in islice(again, len(items))]
            self._batching.note([int(np.argmax([values[i] for i in items])) != int(np.argmax(others))])

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Greedy continuations of each context, as HFLM's but independent of the batch.

        Where memory does not suffice for a batch, its halves go on one after the other.

        Raises:
            UserError: a task wants samples, or more tokens than the model's window has.
        """
        settings = [json.dumps(request.args[1], sort_keys=True) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (settings[i], -len(requests[i].args[0]), i))

        def ask(items: Sequence[int]) -> list[dict[str, object]]:
            replies = []
            for _, alike in groupby(items, key=lambda i: settings[i]):
                replies += in_halves(lambda some: self._continue([requests[i] for i in some]), list(alike))
            return [asdict(reply) for reply in replies]

        size = self._theirs.batch_size if self._backend is None else self._backend.size
        found = self._responses.answer([request.args for request in requests], order, size, ask)
        if not self._batching.invariant and size > 1:
            some = sample(len(requests))
            alone = [["alone", *requests[i].args] for i in some]
            again = self._responses.answer(alone, range(len(some)), 1, lambda places: ask([some[p] for p in places]))
            self._batching.note(found[i] != other for i, other in zip(some, again, strict=True))
        for request in requests:
            tokens = normalize_gen_kwargs(request.args[1], self._theirs.max_gen_toks)["max_gen_toks"]
            self._note(request, request.args[0], self._theirs.max_length - tokens)
        replies = [Reply(**kept) for kept in found]
        self.cut |= {_item(r.task_name, r.doc_id) for r, reply in zip(requests, replies, strict=True) if reply.cut}
        return [reply.text for reply in replies]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-likelihood of whole texts, lm-eval's own; these are not kept."""
        return self._as_memory_allows(lambda: self._theirs.loglikelihood_rolling(requests))

    def _as_memory_allows(self, ask: Callable[[], list[Found]]) -> list[Found]:
        """What lm-eval's model answers, in smaller batches where memory does not suffice for the usual ones."""
        whole = self._theirs.batch_size_per_gpu

        def asked(size: int) -> list[Found]:
            self._theirs.batch_size_per_gpu = size
            return ask()

        try:
            return in_smaller_batches(asked, whole)
        finally:
            self._theirs.batch_size_per_gpu = whole

    def _note(self, request: Instance, text: str, room: int) -> None:
        """Remember the item if its text has more tokens than ``room``; lm-eval drops the first and only logs it."""
        if len(text.encode()) > room and len(self._theirs.tok_encode(text)) > room:  # a token is at least one byte
            self.shortened.add(_item(request.task_name, request.doc_id))

    def _continue(self, requests: Sequence[Instance]) -> list[Reply]:
        settings = normalize_gen_kwargs(requests[0].args[1], self._theirs.max_gen_toks)
        tokens, window = settings["max_gen_toks"], self._theirs.max_length
        if settings["do_sample"]:
            raise UserError(f"Task '{requests[0].task_name}' wants samples; set do_sample: false in its YAML.")
        if tokens >= window:
            raise UserError(
                f"Task '{requests[0].task_name}' generates up to {tokens} tokens, but the model's window has {window}; "
                f"set max_gen_toks in a task YAML of your own that includes it."
            )

        def encoded(rows: Sequence[int]) -> Batch:
            contexts = [requests[row].args[0] for row in rows]
            ids, mask = self._theirs.tok_batch_encode(contexts, left_truncate_len=window - tokens)
            return {"input_ids": ids, "attention_mask": mask}

        until = Until(tokens, settings["until"], ends_of(self._vlm))
        if self._backend is None:
            return decode(self._vlm, encoded, len(requests), until)
        return self._backend.complete([encoded([row])["input_ids"][0].tolist() for row in range(len(requests))], until)


def _ties(requests: Sequence[Instance], values: Sequence[float], share: float) -> list[int]:
    """The options of questions whose two best are closer than ``share`` of a likelihood: as it is, or per character.

    lm-eval divides by the characters of the option, which the continuation has a space more than (or not: a task may
    put nothing between, or begin its options with a space), so both lengths are looked at.
    """
    found = []
    for items in _questions(requests).values():
        said = [len(requests[i].args[1]) for i in items]
        for lengths in ([1] * len(items), said, [max(1, length - 1) for length in said]):
            scaled = sorted((values[i] / n for i, n in zip(items, lengths, strict=True)), reverse=True)
            if len(items) > 1 and scaled[0] - scaled[1] <= share * abs(scaled[1]):
                found += items
                break
    return found


def _questions(requests: Sequence[Instance]) -> dict[object, list[int]]:
    """The positions of each question's options among the requests."""
    questions: dict[object, list[int]] = {}
    for item, request in enumerate(requests):
        questions.setdefault((request.task_name, request.doc_id), []).append(item)
    return questions


def _item(task: str | None, doc: int | None) -> str:
    return f"{task}/{doc}"


def run(
    benchmarks: Sequence[Benchmark],
    tasks: Path,
    model: LM,
    *,
    limit: int | None,
    seed: int,
    cut: Container[str] = frozenset(),
    shortened: Collection[str] = (),
) -> dict[str, Outcome]:
    """Run the one task (or group of tasks) that ``benchmarks`` share; returns each benchmark's outcome by its name.

    Args:
        tasks: folder of rendered task YAMLs (`selectmm.evaluation.tasks.rendered`).
        limit: the first so many items of each task, or None for all.
        seed: of the bootstrap, where one is needed. Few-shot draws are seeded as lm-eval seeds them.
        cut: where ``model`` notes the items whose text was cut.
        shortened: where it notes those whose prompt was; how many they are is part of the settings.

    Raises:
        UserError: unknown task, data that do not load, or a metric that the task does not give.
    """
    name = benchmarks[0].task
    manager = _manager_of(name, tasks)
    with _quiet():
        try:
            found = evaluator.simple_evaluate(model, tasks=[name], task_manager=manager, limit=limit, bootstrap_iters=0)
        except (OSError, DatasetsError) as problem:
            raise UserError(f"Task '{name}': its data cannot be loaded: {problem}") from problem
    samples = [(task, sample) for task, its in found["samples"].items() for sample in its]
    results = found["results"].get(name) or found["groups"][name]
    shots = sorted({shots for shots in found["n-shot"].values() if shots is not None})
    config = next(iter(found["configs"].values()))
    generation = {"output": config["output_type"], "few_shot": shots, **(config.get("generation_kwargs") or {})}
    if shortened:
        generation["shortened_prompts"] = len(shortened)
    outcomes = {b.name: _outcome(b, samples, results, generation, seed) for b in benchmarks}
    return {name: outcome.marked(cut) for name, outcome in outcomes.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the logs of every step and the bars of loading; lm-eval's own bars over requests stay."""
    log = logging.getLogger("lm_eval")
    level, bars = log.level, not datasets.are_progress_bars_disabled()
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        log.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


@lru_cache(maxsize=2)
def _manager(tasks: Path | None) -> TaskManager:
    """Index of one folder's tasks; of the 14,000 built-in ones (several seconds) for None."""
    if tasks is None:
        return TaskManager()
    return TaskManager(include_path=str(tasks), include_defaults=False)


def _manager_of(name: str, tasks: Path) -> TaskManager:
    if name in _manager(tasks).all_tasks:
        return _manager(tasks)
    if name not in _manager(None).all_tasks:
        near = get_close_matches(name, [*_manager(tasks).all_tasks, *_manager(None).all_tasks])
        raise UserError(f"lm-eval has no task '{name}'; near it: {', '.join(near) or 'nothing'}.")
    return _manager(None)


def _outcome(
    benchmark: Benchmark,
    samples: Sequence[tuple[str, Mapping[str, object]]],
    results: Mapping[str, object],
    generation: Mapping[str, object],
    seed: int,
) -> Outcome:
    metric, filtered = metric_key(benchmark, results).split(",")
    value = float(results[f"{metric},{filtered}"]) * benchmark.scale
    kept = [(task, sample) for task, sample in samples if sample["filter"] == filtered]
    scores = [float(sample[metric]) if isinstance(sample[metric], int | float) else None for _, sample in kept]
    parts = None if None in scores else [score * benchmark.scale for score in scores]
    answers = tuple(
        Answer(_item(task, sample["doc_id"]), *_said(sample), score)
        for (task, sample), score in zip(kept, scores, strict=True)
    )
    share = most_frequent_share([answer.target for answer in answers]) * benchmark.scale
    stderr = standard_error(parts, value, np.random.default_rng(seed))
    return Outcome(value, stderr, share if parts is not None else None, answers, generation)


def _said(sample: Mapping[str, object]) -> tuple[str, str, str]:
    """Prompt, target and answer; of a task scored by likelihoods the answer is the number of the likeliest option."""
    arguments = [request.values() if isinstance(request, Mapping) else request for request in sample["arguments"]]
    prompt = str(next(iter(arguments[0])))
    responses = sample["filtered_resps"]
    if isinstance(responses[0], str):
        return prompt, str(sample["target"]), responses[0]
    return prompt, str(sample["target"]), str(int(np.argmax([float(likelihood) for likelihood, _ in responses])))
