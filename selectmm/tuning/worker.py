"""One rank of a training job, started by `selectmm.tuning.spawn` through `selectmm.tuning.rank`."""

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path

import hydra
import numpy as np
import torch
from filelock import FileLock

from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.tuning.fit import fit
from selectmm.tuning.job import LOCK, Job, error_file, read_job
from selectmm.tuning.operators import load_operators

TAIL = 15  # lines of a traceback that are worth showing


def main(folder: Path) -> int:
    """Train as the rank that torchrun's environment names; 1 if a user can mend what went wrong."""
    rank = int(os.environ["RANK"])
    job, pool = read_job(folder)
    error = error_file(folder, job.parent)
    try:
        with FileLock(folder / LOCK) if rank == 0 else nullcontext():
            _train(job, pool, folder, rank)
    except UserError as problem:
        _report(error, str(problem))
        return 1
    except Exception:
        lines = traceback.format_exc().splitlines()[-TAIL:]
        _report(error, "\n".join([f"Worker {rank} of {folder} failed; the end of its output:", *lines]))
        raise
    return 0


def _train(job: Job, pool: Pool, folder: Path, rank: int) -> None:
    vlm = _build(job.build)
    load_operators(job.task.strategy, vlm.model.device)
    fit(vlm, pool, np.arange(len(pool)), job.task, folder, _stop_if_orphaned(job.parent), rank)


def _build(config: Mapping[str, object]) -> VLM:
    """The model on this rank's device."""
    if torch.cuda.is_available() and not str(config.get("device", "auto")).startswith("cpu"):
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)  # or what names no device would take memory of the first one, on every rank
        config = {**config, "device": device}
    return hydra.utils.instantiate(config)


def _stop_if_orphaned(starter: int) -> Callable[[object], None]:
    """What rank 0 calls after each step; a killed starter must not leave workers that train on unseen."""

    def stop(_entry: object) -> None:
        try:
            os.kill(starter, 0)
        except ProcessLookupError:
            sys.exit("the process that started this training is gone")

    return stop


def _report(file: Path, message: str) -> None:
    """The first rank to fail says why; what the others then meet is only its consequence."""
    with suppress(FileExistsError), file.open("x") as error:
        error.write(message)
