"""What is evaluated: benchmarks with task, metric key, scale and chance level."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from selectmm.errors import UserError

Images = Literal["shown", "blind", "shuffled"]


@dataclass(frozen=True)
class Benchmark:
    """One column of a table.

    Attributes:
        name: as papers print it; an embedded stand-in is called ``mini-…`` and never by the real one's name alone.
        harness: whose task code runs it.
        task: the harness's task name. Benchmarks that share a task run it once.
        metric: the metric key in the harness's results; ``metric,filter`` where a task has several filters.
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
        benchmarks: any sequence of them; kept as a tuple.
        tasks: folder of task YAMLs of the suite's own (see `selectmm.evaluation.tasks`), or None for built-in tasks.
        limit: items per task, or None for all.
        batch_size: sequences per forward pass; scores do not depend on it.
        max_new_tokens: a cap on generated tokens where a multimodal task sets none or a larger one. Text tasks keep
            their own, because a chain of thought that is cut has no answer.

    Raises:
        UserError: two benchmarks have one name, or a name cannot be a file's.
    """

    name: str
    benchmarks: Sequence[Benchmark]
    tasks: Path | None
    limit: int | None
    batch_size: int
    max_new_tokens: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "benchmarks", tuple(self.benchmarks))
        object.__setattr__(self, "tasks", None if self.tasks is None else Path(self.tasks))
        names = [benchmark.name for benchmark in self.benchmarks]
        for name in names:
            if names.count(name) > 1:
                raise UserError(f"Suite '{self.name}' has two benchmarks named '{name}'; give each its own name.")
            if not name or "/" in name or name.startswith("."):
                raise UserError(f"Suite '{self.name}' has a benchmark named '{name}'; a name must do as a file name.")


@dataclass(frozen=True)
class Score:
    """A measured cell, in the table's unit. ``answers`` names the file of per-item answers, relative to the stage.

    ``chance`` is what guessing scores, ``majority`` what the best constant answer scores on the same items; either is
    None where it is not defined. ``stderr`` is the standard error over items (None where there is no honest one).
    """

    benchmark: str
    value: float
    stderr: float | None
    items: int
    chance: float | None
    answers: str
    majority: float | None = None
