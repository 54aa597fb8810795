"""Text benchmarks through lm-eval, on the language path of a VLM.

Only this file, language_model.py and items.py import lm-eval (0.4.13).
"""

from collections.abc import Collection, Container, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datasets.exceptions import DatasetsError

import selectmm.models  # noqa: F401  (lets torchvision import)
from selectmm.errors import UserError
from selectmm.evaluation.language_model import item_of, quiet
from selectmm.evaluation.outcome import Answer, Outcome, metric_key
from selectmm.evaluation.references import most_frequent_share
from selectmm.evaluation.standard_error import standard_error
from selectmm.evaluation.suite import Benchmark

from lm_eval.api.model import LM  # isort: skip
from lm_eval import evaluator  # isort: skip
from lm_eval.tasks import TaskManager  # isort: skip

HARNESS = f"lm-eval {version('lm-eval')}"

# For every task, lm-eval asks pip, git and the compiler about the machine, which takes seconds. A record says it.
evaluator.add_env_info = lambda results: None
evaluator.get_git_commit_hash = lambda: None


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
    with quiet():
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
        Answer(item_of(task, sample["doc_id"]), *_said(sample), score)
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
