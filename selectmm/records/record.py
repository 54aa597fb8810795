"""The run record: one JSON per run that holds all that a table, a plot or a doubter needs."""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from selectmm.cache.cost import Cost
from selectmm.cache.provenance import Provenance
from selectmm.cache.stage import Stage, fingerprint
from selectmm.evaluation.suite import Score
from selectmm.records.schedule import PointEntry, ScheduleEntry

SCHEMA = 7


@dataclass(frozen=True)
class StageCost:
    """What a stage cost when it ran (`selectmm.cache.cost.Cost`); ``cached`` if it did not run this time."""

    seconds: float
    device_seconds: float
    peak_gib: float
    cached: bool
    busy_seconds: float | None = None
    flops: float | None = None

    @classmethod
    def of(cls, *stages: Stage) -> "StageCost":
        """The sum over stages (none at all cost nothing); cached if there are some and none of them ran now."""
        total = sum((stage.cost for stage in stages), Cost())
        return cls(**asdict(total), cached=bool(stages) and all(stage.cached for stage in stages))


@dataclass(frozen=True)
class MethodEntry:
    """The selection method: its name on the command line and its options (``asdict(method)``)."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class PoolEntry:
    """The pool that rows were chosen from; ``per_source`` are `Pool.counts`."""

    fingerprint: str
    rows: int
    per_source: Mapping[str, int]


@dataclass(frozen=True)
class SourceCounts:
    """Rows of one source: in the pool, scored, without image, kept."""

    pool: int
    scored: int
    without_image: int
    kept: int


@dataclass(frozen=True)
class Coverage:
    """What happened to the pool's rows (`Subset.coverage`); ``excluded`` could not be chosen, by reason."""

    rows: int
    scored: int
    without_image: int
    kept: int
    kept_distinct: int
    excluded: Mapping[str, int]
    per_source: Mapping[str, SourceCounts]


@dataclass(frozen=True)
class SubsetEntry:
    """What was chosen."""

    fingerprint: str
    rows: int
    coverage: Coverage


@dataclass(frozen=True)
class RecipeEntry:
    """How it was trained: ``asdict`` of the recipe and of the strategy, and the optimiser steps that came out."""

    name: str
    options: Mapping[str, Any]
    strategy: Mapping[str, Any]
    steps: int


@dataclass(frozen=True)
class BatchingEntry:
    """Whether answers depend on their batch (`selectmm.evaluation.batching.Batching`), with a sample asked alone."""

    invariant: bool
    sampled: int
    changed: int


@dataclass(frozen=True)
class Evaluated:
    """What a benchmark's score depends on besides the model (`selectmm.evaluation.results.read_manifest`).

    Attributes:
        judge: who scores: ``none`` (rules), ``exact`` (our matcher) or ``url`` (a model, named in ``generation``).
        task_files, prompts, material: hashes of the task's files and our code for it, of the prompts, and of items,
            targets and pictures; the first and last are empty in records of before they were kept.
        generation: the settings of the answers, as the harness has them.
        limit: items that were asked for at most, None for all; ``items`` were answered.
        batching: None in records of before it was looked at; all of those are of float32 on a CPU, where none depends.
    """

    task: str
    metric: str
    judge: str
    harness: str
    task_files: str
    generation: Mapping[str, Any]
    prompts: str
    material: str
    limit: int | None
    items: int
    batching: BatchingEntry | None = None


@dataclass(frozen=True)
class SuiteEntry:
    """How it was tested; ``evaluator`` says it of every benchmark."""

    name: str
    evaluator: Mapping[str, Evaluated]

    def asked(self) -> dict[str, dict[str, Any]]:
        """The ``evaluator`` without what came out: by benchmark, all but how the batch mattered."""
        return {n: {k: v for k, v in vars(one).items() if k != "batching"} for n, one in self.evaluator.items()}


@dataclass(frozen=True)
class Costs:
    """Cost of each stage, device-seconds being what tables and OSC count.

    ``warmup`` is the short training that some methods take their features after, and zero for all others.
    """

    warmup: StageCost
    features: StageCost
    select: StageCost
    finetune: StageCost
    evaluate: StageCost

    @property
    def selection(self) -> float:
        """Device-seconds of warm-up, features and select together: OSC's T_select."""
        return self.warmup.device_seconds + self.features.device_seconds + self.select.device_seconds

    @property
    def tuning(self) -> float:
        """Device-seconds of fine-tuning."""
        return self.finetune.device_seconds


@dataclass(frozen=True)
class AnswersEntry:
    """The file of all per-item answers: its path, relative to the record's folder, and its SHA-256."""

    file: str
    sha256: str


def now() -> str:
    """The time in UTC, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One finished run.

    Attributes:
        schema: version of this layout.
        experiment: the question that the run belongs to.
        scale: ``embedded`` or ``full``; rows of different scales never share a table.
        config: the whole resolved configuration.
        budget: share of the pool's rows that was asked for, in (0, 1], also where it was asked for as a number of rows
            (``config`` has that); what was kept if the method ignores it (full).
        model: identity of the base model's weights.
        scores: one per benchmark, in the suite's order; one that was not measured is absent, never zero.
        answers: where the per-item answers lie (`selectmm.records.answers`); None in records of before they were kept.
        contamination: by benchmark what of it occurs in the pool (`selectmm.contamination`); None if not checked.
        deviations: sentences on what was done otherwise than asked or published, or with other versions of packages.
        schedule: which rows were visited when, if they were chosen during training; ``subset`` are all that were.
        curve: scores on the way, at fewer steps than all.
        targets: fingerprint of the target examples, if rows were chosen for them; None too in records of before.
        evaluations: how often the model was to be evaluated, evenly over the training (the option ``curve``); None in
            records of before it was part of a record's name.
        code: a fingerprint of the source of what chose the rows (`selectmm.cache.source_code`): method, features,
            schedule. No part of the name; None in records of before.
        finished: UTC time stamp.
    """

    schema: int = SCHEMA
    experiment: str
    scale: str
    provenance: Provenance
    config: Mapping[str, Any]
    method: MethodEntry
    budget: float
    seed: int
    pool: PoolEntry
    subset: SubsetEntry
    recipe: RecipeEntry
    suite: SuiteEntry
    model: str
    costs: Costs
    scores: tuple[Score, ...]
    answers: AnswersEntry | None = None
    contamination: Mapping[str, Mapping[str, int]] | None = None
    deviations: tuple[str, ...] = ()
    schedule: ScheduleEntry | None = None
    curve: tuple[PointEntry, ...] = ()
    targets: str | None = None
    evaluations: int | None = None
    code: str | None = None
    finished: str = field(default_factory=now)

    @cached_property
    def name(self) -> str:
        """File name without ending: readable parts, then a fingerprint of everything that was *asked for*.

        What came out (subset, scores, costs) and where it ran do not count, so the same run made again has the same
        name, and a run that differs in any input has another.
        """
        asked = {
            "experiment": self.experiment,
            "scale": self.scale,
            "method": asdict(self.method),
            "budget": self.budget,
            "seed": self.seed,
            "pool": self.pool.fingerprint,
            "recipe": self.recipe.options,
            "strategy": {**self.recipe.strategy, "devices": 1},  # their number changes a result by rounding alone
            "suite": {"name": self.suite.name, "evaluator": self.suite.asked()},
            "model": self.model,
        }
        # Only where there is something to tell, so that records of before keep their names.
        if self.targets is not None:
            asked["targets"] = self.targets
        if self.evaluations not in (None, 1):
            asked["curve"] = self.evaluations
        parts = (self.experiment, self.method.name, f"{self.budget:g}", self.recipe.name, f"s{self.seed}")
        return "-".join([*(re.sub(r"[^\w.]+", "_", part) for part in parts), fingerprint(asked)])
