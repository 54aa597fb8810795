"""Train over several ranks, and follow their losses."""

import json
import logging
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout

from selectmm.launch import launch
from selectmm.launch.launch import launched
from selectmm.launch.nodes import ALONE, Nodes
from selectmm.pool.pool import Pool
from selectmm.tuning.callback import LOSSES, keep_losses
from selectmm.tuning.checkpoint import expected_meta, latest, read_meta
from selectmm.tuning.job import LOCK, ROWS, Job, write_rows

POLL = 0.2  # seconds between looks at the losses file


def spawn(
    job: Job,
    pool: Pool,
    rows: np.ndarray,
    device: torch.device,
    folder: Path,
    log: Callable[[dict[str, float]], None],
    nodes: Nodes = ALONE,
) -> None:
    """Train under torchrun, one process per device of ``device``'s type; see `selectmm.tuning.finetune.finetune`.

    The ranks say everything through files in ``folder``: losses line by line, the adapter, an error.
    """
    _wait_for_earlier(folder)
    checkpoint = latest(folder)
    done = read_meta(checkpoint, expected_meta(job.task, pool, rows))[0] if checkpoint else job.task.first
    keep_losses(folder, done - job.task.first)
    write_rows(folder, pool, rows)
    module, way_out = "selectmm.tuning.worker", "fewer devices or strategy zero3"
    devices = job.task.strategy.devices
    with launched(module, folder, asdict(job), devices, device, way_out, nodes) as process:
        for entry in _follow(process, folder / LOSSES, done):
            log(entry)
    tidy(folder)


def _wait_for_earlier(folder: Path) -> None:
    """Wait for ranks that have not yet noticed that their parent process was killed."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = "  waiting   for the ranks of an earlier start of this training to end, %s"
        logging.getLogger("selectmm").info(message, folder)
        lock.acquire()
    lock.release()


def tidy(folder: Path) -> None:
    """Delete the files and messages of the ranks of a run that has ended."""
    launch.tidy(folder)
    for name in (ROWS, LOCK):
        (folder / name).unlink(missing_ok=True)


def _follow(process: subprocess.Popen, losses: Path, done: int) -> Iterator[dict[str, float]]:
    """Yield the lines after step ``done`` as they appear, until the process has ended."""
    running = True
    with losses.open() as stream:
        rest = ""
        while running:
            try:
                process.wait(POLL)
                running = False
            except subprocess.TimeoutExpired:
                pass
            *lines, rest = (rest + stream.read()).split("\n")
            for entry in map(json.loads, lines):
                if entry["step"] > done:
                    yield entry
