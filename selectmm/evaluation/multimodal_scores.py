"""Turns lmms-eval's per-item results into an outcome (value, error, majority, answers) by the task's own aggregation.

A task's ``process_results`` gives per item and metric a number or a dict (its *payload*), which the task's aggregation
turns into the value. Payload fields that are read here: ``score`` (POPE, MME, MM-Vet), ``question_id`` with
``category`` (MME's two questions on an image count together), ``index`` (MMBench's rotations of one question).
"""

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from lmms_eval.api.task import ConfigurableTask

from selectmm.evaluation.judging import Judging
from selectmm.evaluation.outcome import Answer, Outcome, metric_key
from selectmm.evaluation.picture_keys import picture_keys
from selectmm.evaluation.references import majority
from selectmm.evaluation.standard_error import standard_error
from selectmm.evaluation.suite import Benchmark

Payload = float | Mapping[str, object]
_Key = tuple[object, object]  # of items that count together: stratum and name
Sample = Mapping[str, object]  # what lmms-eval logs of an item

MMBENCH_TURN = 1_000_000  # MMBench adds multiples of this to the index of a rotated question


def outcome(
    benchmark: Benchmark,
    task: ConfigurableTask,
    samples: Sequence[Sample],
    results: Mapping[str, object],
    generation: Mapping[str, object],
    seed: int,
) -> Outcome:
    """The outcome of one benchmark of a task that has run.

    Raises:
        UserError: the results do not have the benchmark's metric.
    """
    key = metric_key(benchmark, results)
    metric = key.split(",")[0]
    samples = [sample for sample in samples if metric in sample]  # an MME item counts for one of two metrics
    scorer = _Scorer(task, metric, benchmark.scale)
    payloads = [sample[metric] for sample in samples]
    units = _units(payloads)
    value = float(results[key]) * benchmark.scale
    parts = [scorer(unit) for unit in units.values()]
    pictures = picture_keys(task.eval_docs, [sample["doc_id"] for sample in samples])
    keys = [_key(position, payload) for position, payload in enumerate(payloads)]
    shown = dict(zip(keys, pictures, strict=True))
    stderr = standard_error(
        parts,
        value,
        np.random.default_rng(seed),
        again=lambda drawn: scorer(_again(list(units.values()), drawn)),
        strata=[stratum for stratum, _ in units],
        clusters=[shown[key] or key for key in units],
    )
    targets = [_target(sample) for sample in samples]
    docs = [task.eval_docs_no_media[sample["doc_id"]] for sample in samples]
    answers = tuple(
        Answer(
            item=str(sample["doc_id"]),
            prompt=sample["arguments"][0],
            target=target,
            answer=sample["filtered_resps"][0],
            score=score,
            image=picture,
            unit=str(unit),
            stratum=str(stratum),
        )
        for sample, target, score, picture, (stratum, unit) in zip(
            samples, targets, _item_scores(payloads, units, parts), pictures, keys, strict=True
        )
    )
    unasked = benchmark.judge == "url" or task.OUTPUT_TYPE == "loglikelihood"  # no answer of the model's is scored
    constant = None if unasked else majority(targets, lambda text: scorer.constant(docs, text))
    return Outcome(value, stderr, constant, answers, generation)


def judged(
    benchmark: Benchmark,
    task: ConfigurableTask,
    samples: Sequence[Sample],
    results: Mapping[str, object],
    judging: Judging,
) -> tuple[list[Sample], dict[str, object], Mapping[str, object]]:
    """Samples and results of a task that has run, with the judge's scores and their value; and the judge's identity."""
    key = metric_key(benchmark, results)
    metric = key.split(",")[0]
    payloads, judge = judging([str(sample["doc_id"]) for sample in samples], [sample[metric] for sample in samples])
    scored = [{**sample, metric: payload} for sample, payload in zip(samples, payloads, strict=True)]
    return scored, {**results, key: task.aggregation()[metric](payloads)}, judge


class _Scorer:
    """A task's own scoring for one metric, in the table's unit."""

    def __init__(self, task: ConfigurableTask, metric: str, scale: float) -> None:
        self._task, self._metric, self._scale = task, metric, scale
        self._aggregate = task.aggregation()[metric]
        self._wants_args = "args" in inspect.signature(self._aggregate).parameters

    def __call__(self, payloads: Sequence[Payload]) -> float:
        extra = {"args": self._task.args} if self._wants_args else {}
        return float(self._aggregate(list(payloads), **extra)) * self._scale

    def constant(self, docs: Sequence[Mapping[str, object]], text: str) -> float:
        """The value if every item were answered with ``text``."""
        results = [self._task.process_results(doc, [text]) for doc in docs]
        return self([result[self._metric] for result in results])


def _key(position: int, payload: Payload) -> _Key:
    """Items with an equal key count together: MME's pairs, MMBench's rotations."""
    if isinstance(payload, Mapping) and {"question_id", "category"} <= payload.keys():
        return payload["category"], payload["question_id"]
    if isinstance(payload, Mapping) and "index" in payload:
        return "", payload["index"] % MMBENCH_TURN
    return "", position


def _units(payloads: Sequence[Payload]) -> dict[_Key, list[Payload]]:
    """The payloads that count together, in order of first appearance."""
    units: dict[_Key, list[Payload]] = {}
    for position, payload in enumerate(payloads):
        units.setdefault(_key(position, payload), []).append(payload)
    return units


def _again(units: Sequence[Sequence[Payload]], drawn: np.ndarray) -> list[Payload]:
    """The payloads of the drawn units. A unit that is drawn twice is two units, so its question ids are renamed."""
    return [
        {**payload, "question_id": f"{draw}"} if isinstance(payload, Mapping) else payload
        for draw, unit in enumerate(drawn)
        for payload in units[unit]
    ]


def _item_scores(
    payloads: Sequence[Payload], units: Mapping[_Key, list[Payload]], parts: Sequence[float]
) -> list[float | None]:
    """Each item's score in 0..1: its payload's own, or where it has none (MMBench, MMMU) that of its unit.

    None of an item that a judge gave points beside a reference's (LLaVA-W): their ratio is no share, and the value of
    the benchmark is no mean of it.
    """
    of_unit = dict(zip(units, parts, strict=True))
    found: list[float | None] = []
    for position, payload in enumerate(payloads):
        if isinstance(payload, Mapping) and "scores" in payload:
            found.append(None)
        elif isinstance(payload, Mapping):
            found.append(float(payload.get("score", of_unit[_key(position, payload)] / 100)))
        else:
            found.append(float(payload))
    return found


def _target(sample: Sample) -> str:
    """The right answer as text; VizWiz's is what most of its ten people said (its task file names no column)."""
    said = sample["doc"].get("answers", sample["target"])
    if not isinstance(said, list):
        return str(said)
    people = [answer["answer"] if isinstance(answer, Mapping) else str(answer) for answer in said]  # VQAv2's are dicts
    return Counter(people).most_common(1)[0][0]
