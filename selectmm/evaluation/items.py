"""A suite's items as the harnesses' own task code shows them, with nobody answering.

Each harness is started as for an evaluation, with a model that keeps what it is asked and stops it there; nothing is
scored, and no judge is asked. With text.py and language_model.py this is the only file that imports lm-eval.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from PIL import Image

from selectmm.evaluation import multimodal, text
from selectmm.evaluation.generate import Question
from selectmm.evaluation.own import RATED, TASK
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.evaluation.tasks import check_data, rendered
from selectmm.models.encode import Conversation

from lm_eval.api.instance import Instance  # isort: skip
from lm_eval.api.model import LM  # isort: skip


@dataclass(frozen=True)
class Item:
    """One question of a task: its name, the prompt without any model's template, and a way to open its pictures."""

    task: str
    name: str
    prompt: str
    images: Callable[[], tuple[Image.Image, ...]]


class _Collected(Exception):
    """Carries the items out of a harness."""

    def __init__(self, items: list[Item]) -> None:
        super().__init__("collected")
        self.items = items


def items_of(suite: Suite) -> Iterator[tuple[str, list[Item]]]:
    """Yield the items of each task under the names of the benchmarks that share it (``MME-P, MME-C``).

    Pictures can be opened until the next task is asked for.

    Raises:
        UserError: as `selectmm.evaluation.evaluate.evaluate`, but for what is found when answers are scored.
    """
    groups: dict[tuple[str, str], list[Benchmark]] = {}
    for benchmark in suite.benchmarks:
        groups.setdefault((benchmark.harness, benchmark.task), []).append(benchmark)
    if ("lmms-eval", TASK) in groups:
        groups.pop(("lmms-eval", RATED), None)  # the same questions
    with rendered(suite.tasks, suite.benchmarks, suite.data) as tasks:
        for (harness, task), group in groups.items():
            check_data(task, tasks)
            ask = _text if harness == "lm-eval" else _multimodal
            yield ", ".join(benchmark.name for benchmark in group), ask(group, tasks, suite)


def _multimodal(group: Sequence[Benchmark], tasks: Path, suite: Suite) -> list[Item]:
    def keep(questions: Sequence[Question], *_: object) -> NoReturn:
        task = group[0].task
        raise _Collected(
            [
                Item(task, f"{task}/{n}", question.prompt, partial(_pictures, question))
                for n, question in enumerate(questions)
            ]
        )

    try:
        settings = {"limit": suite.limit, "max_new_tokens": suite.max_new_tokens, "images": "shown", "seed": 0}
        multimodal.run(group, tasks, keep, rate=keep, **settings)
    except _Collected as collected:
        return collected.items
    return []


def _pictures(question: Question) -> tuple[Image.Image, ...]:
    """Its images, and the middle frames of its clips."""
    return tuple(Conversation((), question.images()).pictures())


def _text(group: Sequence[Benchmark], tasks: Path, suite: Suite) -> list[Item]:
    try:
        text.run(group, tasks, _Requests(), limit=suite.limit, seed=0)
    except _Collected as collected:
        return collected.items
    return []


class _Requests(LM):
    """Keeps the first request of each document (the base class is demanded by lm-eval)."""

    def _keep(self, requests: list[Instance]) -> list[object]:
        firsts: dict[tuple[str, int], Instance] = {}
        for request in requests:
            firsts.setdefault((request.task_name, request.doc_id), request)
        raise _Collected([Item(task, f"{task}/{doc}", str(r.args[0]), tuple) for (task, doc), r in firsts.items()])

    loglikelihood = loglikelihood_rolling = generate_until = _keep
