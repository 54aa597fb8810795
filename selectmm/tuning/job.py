"""A training job as a file: what a worker process needs to know."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from selectmm.pool.arrow import open_arrow, write_table
from selectmm.pool.pool import Pool, taken
from selectmm.records.stage import write_atomically
from selectmm.tuning.recipe import Recipe, Strategy

JOB, ROWS, LOCK = "job.json", "rows.arrow", "worker.lock"


@dataclass(frozen=True)
class Task:
    """What is trained, but for the model and the rows.

    Attributes:
        steps: optimiser steps of the whole run.
        seed: of the plan, the LoRA weights and dropout.
        snapshots: see `selectmm.tuning.snapshots`; 0: none but the result.
    """

    recipe: Recipe
    strategy: Strategy
    steps: int
    seed: int
    snapshots: int = 0


@dataclass(frozen=True)
class Job:
    """The instructions of worker processes, the same for all ranks.

    Attributes:
        build: the model's config.
        images: the pool's image root.
    """

    task: Task
    build: Mapping[str, object]
    images: str


def write_job(folder: Path, job: Job, pool: Pool, rows: np.ndarray) -> None:
    """Write the job, and the rows it trains on as a pool of their own (a worker then needs nothing of the big one)."""
    write_table(folder / ROWS, taken(pool.table, rows))
    write_atomically(folder / JOB, json.dumps(asdict(job), indent=1))


def read_job(folder: Path) -> tuple[Job, Pool]:
    """The job and its rows."""
    content = json.loads((folder / JOB).read_text())
    task = content["task"]
    task |= {"recipe": Recipe(**task["recipe"]), "strategy": Strategy(**task["strategy"])}
    job = Job(**content | {"task": Task(**task)})
    return job, open_arrow(folder / ROWS, Path(job.images), fingerprint="")
