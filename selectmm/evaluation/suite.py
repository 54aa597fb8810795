"""What is evaluated: benchmarks with task, metric key, scale, direction and chance level."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from selectmm.errors import UserError
from selectmm.evaluation.judge import ExactJudge, Judge, NoJudge, Server

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
        judge: what scores its answers: ``none``, the task's own rules; ``exact``, our offline matcher in the place of a
            judge model; ``url``, a judge model, see `Suite.judge`.
        exact: for a benchmark that needs a judge model, the task that our offline matcher scores instead, if there is
            one.
        better: whether higher or lower values are better, as the harness says.
    """

    name: str
    harness: Literal["lmms-eval", "lm-eval"]
    task: str
    metric: str
    scale: float
    chance: float | None
    judge: Literal["none", "exact", "url"] = "none"
    exact: str | None = None
    better: Literal["higher", "lower"] = "higher"


@dataclass(frozen=True)
class Suite:
    """Benchmarks that are run together, and how.

    Attributes:
        benchmarks: any sequence of them, or a mapping to them; kept as a tuple of those that ``judge`` lets run.
        tasks: folder of task YAMLs of the suite's own (see `selectmm.evaluation.tasks`), or None for built-in tasks.
        limit: items per task, or None for all.
        batch_size: the most sequences per forward pass. There are fewer where they have more tokens than
            `selectmm.models.together` says, or where memory runs out. Scores do not depend on it in float32 on a CPU.
        max_new_tokens: a cap on generated tokens where a multimodal task sets none or a larger one. Text tasks keep
            their own, because a chain of thought that is cut has no answer.
        data: folder that built-in tasks read instead of the hub, see `selectmm.evaluation.local`; None for the hub.
        judge: who scores benchmarks that need a judge model.
        only: names of the benchmarks to run, in the suite's order; None for all.
        absent: benchmarks that the suite would have but cannot, with the reason.
        left_out: ``absent`` and those that lack their judge; a run records it, and its tables say so.

    Raises:
        UserError: two benchmarks have one name, a name cannot be a file's, ``only`` names none or one that is not
            there, a number is not above 0, or lower values are better: ``Rel.``, chance and majority are only defined
            for scores that are better when higher.
    """

    name: str
    benchmarks: Sequence[Benchmark]
    tasks: Path | None
    limit: int | None
    batch_size: int
    max_new_tokens: int
    data: Path | None = None
    judge: Judge = field(default_factory=ExactJudge)
    only: Sequence[str] | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        every = list(self.benchmarks.values() if isinstance(self.benchmarks, Mapping) else self.benchmarks)
        _check_names(self.name, every)
        _check_only(self.name, [benchmark.name for benchmark in every], self.only)
        given = [benchmark for benchmark in every if self.only is None or benchmark.name in self.only]
        scored = {benchmark: scored_by(benchmark, self.judge) for benchmark in given}
        for name in ("limit", "batch_size", "max_new_tokens"):
            _check_number(name, getattr(self, name))
        unjudged = {b.name: _unjudged(b, self.judge) for b, chosen in scored.items() if chosen is None}
        object.__setattr__(self, "benchmarks", tuple(chosen for chosen in scored.values() if chosen is not None))
        object.__setattr__(self, "left_out", {**({} if self.only else self.absent), **unjudged})
        for name in ("tasks", "data"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))


def scored_by(benchmark: Benchmark, judge: Judge) -> Benchmark | None:
    """The benchmark as this judge scores it; None if it needs another."""
    if benchmark.judge != "url" or isinstance(judge, Server):
        return benchmark
    if isinstance(judge, ExactJudge) and benchmark.exact is not None:
        return replace(benchmark, task=benchmark.exact, judge="exact")
    return None


def _unjudged(benchmark: Benchmark, judge: Judge) -> str:
    if isinstance(judge, NoJudge):
        return "it needs a judge, and judge is none"
    return "it needs a judge model (judge=url); our offline matcher cannot score it"


def _check_names(suite: str, benchmarks: Sequence[Benchmark]) -> None:
    names = [benchmark.name for benchmark in benchmarks]
    for benchmark in benchmarks:
        name = benchmark.name
        if names.count(name) > 1:
            raise UserError(f"Suite '{suite}' has two benchmarks named '{name}'; give each its own name.")
        if not name or "/" in name or name.startswith("."):
            raise UserError(f"Suite '{suite}' has a benchmark named '{name}'; a name must do as a file name.")
        if benchmark.better == "lower":
            raise UserError(
                f"Suite '{suite}': of '{name}' lower values are better, which Rel. is not defined for; leave it out."
            )


def _check_only(suite: str, names: Sequence[str], only: Sequence[str] | None) -> None:
    if only is None:
        return
    if isinstance(only, str) or not only:
        raise UserError(f"suite.only={only}: give a list of benchmarks, such as [{names[0]}], or null for all.")
    if strange := [name for name in only if name not in names]:
        raise UserError(f"suite.only: suite={suite} has no '{strange[0]}'; it has: {', '.join(names)}.")


def _check_number(name: str, value: object) -> None:
    """The harnesses take a limit of 0 for no items or for all, and one below 1 for a share."""
    if value is None and name == "limit":
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        or_null = ", or null for all items" if name == "limit" else ""
        raise UserError(f"suite.{name}={value}: give a whole number above 0{or_null}.")


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
