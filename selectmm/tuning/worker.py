"""One rank of a training job, started by `selectmm.tuning.spawn` through `selectmm.launch.rank`."""

import os
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from filelock import FileLock

from selectmm.launch.launch import on_this_rank, serve
from selectmm.tuning.fit import fit
from selectmm.tuning.job import LOCK, job_of, read_rows
from selectmm.tuning.operators import load_operators


def train(folder: Path, content: Mapping[str, Any], rank: int, _ranks: int) -> None:
    """Train as one rank of the job ``content`` in ``folder``."""
    job = job_of(content)
    pool = read_rows(folder, job)
    with FileLock(folder / LOCK) if rank == 0 else nullcontext():
        vlm = hydra.utils.instantiate(on_this_rank(job.build))
        load_operators(job.task.strategy, vlm.model.device)
        nodes = int(os.environ["GROUP_WORLD_SIZE"])
        fit(vlm, pool, np.arange(len(pool)), job.task, folder, lambda _entry: None, rank, nodes)


def main(arguments: list[str]) -> int:
    """What `selectmm.launch.rank` calls; see `serve`."""
    return serve(arguments, train)
