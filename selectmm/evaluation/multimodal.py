"""Multimodal benchmarks through lmms-eval's own task code (0.7.3), known here, in multimodal_scores.py and mme.py only.

The harness builds the prompts, parses and scores the answers, and aggregates; answering is ours.
"""

import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TextIO
from unittest.mock import patch

import numpy as np
from loguru import logger
from PIL import Image, ImageFile
from tenacity import RetryError

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.errors import UserError
from selectmm.evaluation.generate import Answerer, Question
from selectmm.evaluation.images import as_shown
from selectmm.evaluation.judging import Judging
from selectmm.evaluation.likelihood import Rater
from selectmm.evaluation.multimodal_scores import judged, outcome
from selectmm.evaluation.outcome import Outcome
from selectmm.evaluation.own_scores import places
from selectmm.evaluation.suite import Benchmark, Images
from selectmm.pool.clip import Clip, open_clip

from lmms_eval.api.instance import Instance  # isort: skip
from lmms_eval.api.model import lmms  # isort: skip
from lmms_eval.api.task import ConfigurableTask  # isort: skip
from lmms_eval.evaluator import evaluate  # isort: skip
from lmms_eval.tasks import TaskManager, get_task_dict  # isort: skip

# lmms_eval makes PIL fill what a cut-off image lacks with grey, in this whole process: no such image of a pool would be
# noticed again.
ImageFile.LOAD_TRUNCATED_IMAGES = False

IMAGE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)  # what PIL raises most
HARNESS = f"lmms-eval {version('lmms-eval')}"


class _Model(lmms):
    """The harness's side of a model: it hands every request to ``answer`` (the base class is demanded by lmms-eval)."""

    def __init__(self, answer: "_Asker") -> None:
        super().__init__()
        self.accelerator = None  # or the harness makes one
        self._answer = answer

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return self._answer(requests)

    def loglikelihood(self, requests: list[Instance]) -> list[str]:
        """Return the losses as text, because lmms-eval 0.7.3 makes one text of the pairs (loss, is greedy)."""
        return [str(loss) for loss in self._answer.losses(requests)]

    def generate_until_multi_round(self, requests: list[Instance]) -> list[str]:
        raise UserError(f"Task '{requests[0].task_name}' asks in several rounds, which is not supported.")

    def clean(self) -> None:
        """The harness's own version deletes the model after a run."""


class _Asker:
    """Turns requests of one task into questions, has them answered, and remembers the settings used."""

    def __init__(
        self,
        task: ConfigurableTask,
        answer: Answerer,
        rate: Rater | None,
        cap: int,
        images: Images,
        seed: int,
        screen: TextIO,
    ) -> None:
        self._task, self._answer, self._rate, self._cap, self._images = task, answer, rate, cap, images
        self._seed, self._screen = seed, screen
        self.generation: dict[str, object] = {}
        self.cut: set[str] = set()  # items whose answer was still going on at the cap

    def __call__(self, requests: list[Instance]) -> list[str]:
        settings = requests[0].args[1]
        stops = settings.get("until", [])
        stops = [stops] if isinstance(stops, str) else list(stops)
        tokens = min(settings.get("max_new_tokens", self._cap), self._cap)
        self.generation = {"greedy": True, "max_new_tokens": tokens, "until": stops, "padding": "left"}
        questions = self._questions(requests)
        with redirect_stdout(self._screen):
            replies = self._answer(questions, tokens, stops)
        self.cut |= {str(request.args[3]) for request, reply in zip(requests, replies, strict=True) if reply.cut}
        return [reply.text for reply in replies]

    def losses(self, requests: list[Instance]) -> list[float]:
        """The loss of each item's right answer."""
        if self._task.OUTPUT_TYPE != "loglikelihood":
            raise UserError(
                f"Task '{requests[0].task_name}' is scored by likelihoods, which lmms-eval 0.7.3 gets wrong; give the "
                f"benchmark harness: lm-eval."
            )
        if self._rate is None:
            raise UserError(
                f"Task '{requests[0].task_name}' asks for the loss of given answers, which this engine does not tell; "
                f"evaluate without engine=vllm."
            )
        self.generation = {"scored": "mean cross-entropy of the answer's tokens, in nats", "padding": "right"}
        docs = self._task.eval_docs_no_media
        answers = [str(self._task.doc_to_target(docs[request.args[3]])) for request in requests]
        questions = self._questions(requests)
        with redirect_stdout(self._screen):
            return self._rate(questions, answers)

    def _questions(self, requests: list[Instance]) -> list[Question]:
        docs = self._task.eval_docs_no_media
        questions = [Question(r.args[0], lambda r=r: self._open(r), places(docs[r.args[3]])) for r in requests]
        return as_shown(questions, self._images, np.random.default_rng(self._seed))

    def _open(self, request: Instance) -> tuple[Image.Image | Clip, ...]:
        _, _, doc_to_visual, row, name, split = request.args
        try:
            visuals = doc_to_visual(self._task.dataset[split][row]) or []
        except Exception as problem:  # the row's image is decoded here, and decoders raise nearly everything
            raise UserError(_unopened(name, row, problem)) from problem
        return tuple(_shown(name, row, visual) for visual in visuals)


def run(
    benchmarks: Sequence[Benchmark],
    tasks: Path,
    answer: Answerer,
    *,
    limit: int | None,
    max_new_tokens: int,
    images: Images,
    seed: int,
    judging: Judging | None = None,
    rate: Rater | None = None,
) -> dict[str, Outcome]:
    """Run the one task that ``benchmarks`` share; returns each benchmark's outcome by its name.

    Args:
        tasks: folder of rendered task YAMLs (`selectmm.evaluation.tasks.rendered`).
        answer: answers all of a task's questions; for a model, `generate.in_batches` of `generate.generate`.
        limit: the first so many items, or None for all.
        max_new_tokens: cap on the task's own.
        seed: of the shuffled images and the bootstrap. The harness's own draws (MMMU guesses where an answer cannot
            be parsed) are seeded as lmms-eval seeds them.
        judging: scores the answers of a task that a judge model decides (`selectmm.evaluation.judging`).
        rate: gives the losses that a task of the form ``loglikelihood`` asks for; None where nothing can.

    Raises:
        UserError: unknown task, data that do not load, unreadable image, or a metric that the task does not give.
    """
    name = benchmarks[0].task
    with _quiet() as screen, TemporaryDirectory() as scratch:
        task = _load(name, tasks)
        task.aggregation().pop("submission", None)  # files for leaderboards, not scores
        asker = _Asker(task, answer, rate, max_new_tokens, images, seed, screen)
        settings = SimpleNamespace(output_path=scratch, process_with_media=False, reasoning_tags=None)
        random.seed(0)
        np.random.seed(1234)
        found = evaluate(
            _Model(asker),
            {name: task},
            limit=limit,
            bootstrap_iters=0,
            cli_args=settings,
            process_docs_parallel=1,  # several threads would draw MMMU's guesses in any order
        )
        samples, results = found["samples"][name], found["results"][name]
        if judging is not None:
            with redirect_stdout(screen):
                samples, results, judge = judged(benchmarks[0], task, samples, results, judging)
            asker.generation["judge"] = judge
        return {
            b.name: outcome(b, task, samples, results, asker.generation, seed).marked(asker.cut) for b in benchmarks
        }


@contextmanager
def _quiet() -> Iterator[TextIO]:
    """Silence the harness's prints, logs and bars; yields the screen for those who have something to say."""
    screen = sys.stdout
    logger.disable("lmms_eval")
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield screen


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """These variables are set, and afterwards the environment is as it was, and the same object.

    Where a task maps its items in processes, as GQA's does, `datasets` leaves a copy in its place. Whoever holds the
    first one, as W&B's client does, would never see a variable that is set later.
    """
    own = os.environ
    with patch.dict(own, values):
        try:
            yield
        finally:
            os.environ = own  # noqa: B003 (it is no other environment, but the one that this process began with)


@lru_cache(maxsize=2)
def _manager(tasks: Path | None) -> TaskManager:
    """Index of one folder's tasks; of the built-in ones (several seconds) for None."""
    if tasks is None:
        return TaskManager()
    return TaskManager(include_path=str(tasks), include_defaults=False)


def _load(name: str, tasks: Path) -> ConfigurableTask:
    manager = _manager(tasks)
    if name not in manager.task_index:
        manager = _manager(None)
    entry = manager.task_index.get(name)
    if entry is None or entry["type"] != "task":
        near = get_close_matches(name, [*_manager(tasks).all_subtasks, *manager.all_subtasks])
        raise UserError(f"lmms-eval has no single task '{name}'; near it: {', '.join(near) or 'nothing'}.")
    # MM-Vet's file connects to a judge when it is imported; nothing here ever asks one.
    with _environment(API_TYPE="dummy"):
        try:
            return get_task_dict([name], manager)[name]
        except RetryError as problem:
            cause = problem.last_attempt.exception()
            raise UserError(f"Task '{name}': its data cannot be loaded: {cause}") from problem
        except IMAGE_ERRORS as problem:  # the harness looks at the first item
            raise UserError(_unopened(name, 0, problem)) from problem


def _shown(name: str, row: int, visual: object) -> Image.Image | Clip:
    """What an item shows: an image, or the clip at a path, as tasks on videos name it.

    Raises:
        UserError: it is neither, or the clip cannot be read.
    """
    if isinstance(visual, Image.Image):
        return visual
    if not isinstance(visual, str):
        raise UserError(f"Task '{name}': item {row} shows something that is neither an image nor a clip.")
    path = Path(visual)
    if not path.is_file():
        raise UserError(f"Task '{name}': the clip of item {row} is missing: {path}; fetch the task's clips.")
    return open_clip(path.parent, path.name)


def _unopened(name: str, row: int, problem: Exception) -> str:
    return f"Task '{name}': the image of item {row} cannot be opened ({problem}); make the data again."
