"""The run record: one JSON per run that holds all that a table, a plot or a doubter needs."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from selectmm.errors import UserError
from selectmm.evaluation.suite import Score
from selectmm.records.checks import check_finite, check_values
from selectmm.records.cost import Cost
from selectmm.records.provenance import Provenance
from selectmm.records.reading import Mismatch, read
from selectmm.records.stage import Stage, fingerprint, write_atomically

SCHEMA = 4
READ_TOO = (2, 3)
NOT_KEPT_BEFORE = {"answers": None, "contamination": None}  # by schema 2; neither kept the threads


@dataclass(frozen=True)
class StageCost:
    """What a stage cost when it ran: wall seconds, device-seconds, peak GiB; ``cached`` if it did not run this time."""

    seconds: float
    device_seconds: float
    peak_gib: float
    cached: bool

    @classmethod
    def of(cls, *stages: Stage) -> "StageCost":
        """The sum over stages (none at all cost nothing); cached if there are some and none of them ran now."""
        total = sum((stage.cost for stage in stages), Cost())
        return cls(**asdict(total), cached=bool(stages) and all(stage.cached for stage in stages))


@dataclass(frozen=True)
class MethodEntry:
    """The selection method: its name on the command line and its options (``asdict(method)``)."""

    name: str
    options: Mapping[str, object]


@dataclass(frozen=True)
class PoolEntry:
    """The pool that rows were chosen from; ``per_source`` are `Pool.counts`."""

    fingerprint: str
    rows: int
    per_source: Mapping[str, int]


@dataclass(frozen=True)
class SubsetEntry:
    """What was chosen; ``coverage`` is `Subset.coverage`: rows scored, kept, excluded and why, and kept per source."""

    fingerprint: str
    rows: int
    coverage: Mapping[str, object]


@dataclass(frozen=True)
class RecipeEntry:
    """How it was trained: ``asdict`` of the recipe and of the strategy, and the optimiser steps that came out."""

    name: str
    options: Mapping[str, object]
    strategy: Mapping[str, object]
    steps: int


@dataclass(frozen=True)
class SuiteEntry:
    """How it was tested; ``evaluator`` is the evaluation's manifest: harness versions, prompts, generation settings."""

    name: str
    evaluator: Mapping[str, object]


@dataclass(frozen=True)
class Costs:
    """Cost of each stage, device-seconds being what tables count.

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
        budget: share of the pool's rows that was asked for, in (0, 1]; what was kept if the method ignores it (full).
        model: identity of the base model's weights.
        scores: one per benchmark, in the suite's order; one that was not measured is absent, never zero.
        answers: where the per-item answers lie (`selectmm.records.answers`); None in records of before they were kept.
        contamination: by benchmark what of it occurs in the pool (`selectmm.contamination`); None if not checked.
        deviations: sentences on what was done otherwise than asked or published.
        finished: UTC time stamp.
    """

    schema: int = SCHEMA
    experiment: str
    scale: str
    provenance: Provenance
    config: Mapping[str, object]
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
    finished: str = field(default_factory=now)

    @property
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
            "strategy": {**self.recipe.strategy, "devices": 1},  # their number changes no result
            "suite": asdict(self.suite),
            "model": self.model,
        }
        parts = (self.experiment, self.method.name, f"{self.budget:g}", self.recipe.name, f"s{self.seed}")
        return "-".join([*(re.sub(r"[^\w.]+", "_", part) for part in parts), fingerprint(asked)])


def save(record: RunRecord, folder: Path) -> Path:
    """Write ``folder/<record.name>.json`` in one step and return its path; the same run replaces its own file.

    Raises:
        UserError: the folder cannot be written.
        ValueError: a number in the record is NaN or infinite.
    """
    path = folder / f"{record.name}.json"
    text = json.dumps(asdict(record), indent=1, ensure_ascii=False, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text + "\n")
    except OSError as problem:
        raise UserError(
            f"The record {path} could not be written: {problem.strerror}. Every stage is kept in the cache; make room "
            f"or set 'records' to another folder, and start the same command again."
        ) from problem
    return path


def load(path: Path) -> RunRecord:
    """Read and check a record.

    Raises:
        UserError: it is not there, no JSON, of another schema, a field is missing, unknown or of the wrong type, or
            holds what no run can have measured.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as problem:
        hint = f"; name its files: {path}/*.json" if path.is_dir() else ""
        raise UserError(f"There is no record to read at {path} ({problem.strerror}){hint}.") from problem
    except (ValueError, RecursionError) as problem:
        raise UserError(f"Record {path} is not JSON ({problem}); make it again by starting its run again.") from problem
    if isinstance(content, dict) and content.get("schema") in READ_TOO:
        content = _completed(content)
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        found = content.get("schema") if isinstance(content, dict) else type(content).__name__
        raise UserError(f"Record {path} has schema {found!r}, this version reads {SCHEMA}; make the run again.")
    try:
        check_finite(content)
        record = read(RunRecord, content)
        check_values(record)
        return record
    except Mismatch as problem:
        raise UserError(f"Record {path}: {problem}; records are never edited, so make the run again.") from problem


def _completed(content: Mapping[str, object]) -> dict[str, object]:
    """A record of an earlier schema, with what that did not keep as unknown."""
    origin = content.get("provenance")
    if isinstance(origin, dict) and isinstance(origin.get("hardware"), dict):
        content = {**content, "provenance": {**origin, "hardware": {"threads": None, **origin["hardware"]}}}
    before = NOT_KEPT_BEFORE if content.get("schema") == 2 else {}
    return {**before, **content, "schema": SCHEMA}
