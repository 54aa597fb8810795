"""What is evaluated: benchmarks with task, metric key, scale and chance level."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Benchmark:
    """One column of a table.

    Attributes:
        name: as papers print it; an embedded stand-in is called ``mini-…`` and never by the real one's name alone.
        harness: whose task code runs it.
        task: the harness's task name.
        metric: the metric key in the harness's results.
        scale: what the harness's value is multiplied by for the table (100 for a fraction).
        chance: what guessing scores, in the table's unit; None where it is not defined.
        judge: ``none`` needs no judge; ``exact`` is scored by our offline matcher instead of a judge model.
    """

    name: str
    harness: Literal["lmms-eval", "lm-eval"]
    task: str
    metric: str
    scale: float
    chance: float | None
    judge: Literal["none", "exact"] = "none"


@dataclass(frozen=True)
class Suite:
    """Benchmarks that are run together, and how.

    Attributes:
        tasks: folder of task YAMLs of ours (each ``include:``s the harness's own), or None for built-in tasks only.
        limit: items per benchmark, or None for all.
        batch_size: sequences per forward pass; scores do not depend on it.
        max_new_tokens: a cap on generated tokens where a task sets none (or a larger one).
    """

    name: str
    benchmarks: tuple[Benchmark, ...]
    tasks: Path | None
    limit: int | None
    batch_size: int
    max_new_tokens: int


@dataclass(frozen=True)
class Score:
    """A measured cell, in the table's unit. ``answers`` names the file of per-item answers, relative to the stage."""

    benchmark: str
    value: float
    stderr: float | None
    items: int
    chance: float | None
    answers: str
