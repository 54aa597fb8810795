"""A training job: what a worker process needs to know, and the rows as a file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.pool.arrow import open_arrow, write_blocks
from selectmm.pool.pool import Pool
from selectmm.pool.root import root_spelled
from selectmm.pool.table import blocks_of
from selectmm.tuning.recipe import Recipe, Strategy

ROWS, LOCK = "rows.arrow", "worker.lock"
HANDED_ON = "handed-on"  # folder in that of a part: the checkpoint that the next part begins with


@dataclass(frozen=True)
class Part:
    """Some of a run's steps, on rows of their own.

    Attributes:
        first, last: optimiser steps of the run before this part, and at its end.
        before: the folder in which the part before left its last state (`HANDED_ON`); None for the run's first.
        ordered: whether the rows are trained on in the order in which they are given, batch by batch; otherwise
            `selectmm.tuning.plan.plan` orders them.
        weights: what the loss of each row is multiplied by. Parts that have them note every row's loss.
    """

    first: int
    last: int
    before: str | None = None
    ordered: bool = False
    weights: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Task:
    """What is trained, but for the model and the rows.

    Attributes:
        steps: optimiser steps of the whole run, over which the rates rise and fall.
        seed: of the plan, the LoRA weights and dropout.
        part: the steps that are taken now, if not all of them.
        points: steps after which what is learned by then is kept as well.
        snapshots: see `selectmm.tuning.snapshots`; 0: none but the result.
    """

    recipe: Recipe
    strategy: Strategy
    steps: int
    seed: int
    part: Part | None = None
    points: tuple[int, ...] = ()
    snapshots: int = 0

    @property
    def first(self) -> int:
        """Optimiser steps that were taken before this task."""
        return self.part.first if self.part else 0

    @property
    def last(self) -> int:
        """Optimiser steps that were taken at its end."""
        return self.part.last if self.part else self.steps


@dataclass(frozen=True)
class Job:
    """The instructions of worker processes, the same for all ranks.

    Attributes:
        build: the model's config.
        images: the pool's image root, see `selectmm.pool.root.spelled`.
        frames: where frames of its clips are kept, see `selectmm.pool.pool.Pool`.
    """

    task: Task
    build: Mapping[str, Any]
    images: str
    frames: str | None = None


def write_rows(folder: Path, pool: Pool, rows: np.ndarray) -> None:
    """Write the rows that a job trains on as a pool of their own (a worker then needs nothing of the big one)."""
    write_blocks(folder / ROWS, blocks_of(pool.table, rows))


def read_rows(folder: Path, job: Job) -> Pool:
    """What `write_rows` wrote."""
    return open_arrow(folder / ROWS, root_spelled(job.images), "", job.frames)


def job_of(content: Mapping[str, Any]) -> Job:
    """A job from its values, as JSON has them."""
    task = dict(content["task"])
    task |= {"recipe": Recipe(**task["recipe"]), "strategy": Strategy(**task["strategy"])}
    task |= {"part": _part(task["part"]), "points": tuple(task["points"])}
    return Job(**{**content, "task": Task(**task)})


def _part(content: Mapping[str, Any] | None) -> Part | None:
    if content is None or content["weights"] is None:
        return None if content is None else Part(**content)
    return Part(**{**content, "weights": tuple(content["weights"])})
