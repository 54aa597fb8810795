"""Start worker processes for a job, follow their losses, and explain their failures."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from selectmm.errors import UserError
from selectmm.pool.pool import Pool
from selectmm.tuning.checkpoint import asked_of, latest, read_meta
from selectmm.tuning.job import JOB, LOCK, LOG, ROWS, Job, error_file, write_job
from selectmm.tuning.keeper import LOSSES, keep_losses
from selectmm.tuning.strategy import worker_environment

POLL = 0.2  # seconds between looks at the losses file
PATIENCE = 45  # seconds for torchrun to end; it gives its workers 30
KILLED = "(exitcode: -9)"  # in torchrun's words
TAIL = 15  # lines of a failed worker's output that are shown


def spawn(
    job: Job,
    pool: Pool,
    rows: np.ndarray,
    device: torch.device,
    folder: Path,
    log: Callable[[dict[str, float]], None],
) -> None:
    """Train under torchrun, one process per device of ``device``'s type; see `selectmm.tuning.finetune.finetune`.

    The workers say everything through files in ``folder``: losses line by line, the adapter, an error.
    """
    strategy = job.task.strategy
    environment = worker_environment(device)
    with FileLock(folder / LOCK):  # held by workers that have not yet noticed that who started them was killed
        checkpoint = latest(folder)
    done = read_meta(checkpoint, asked_of(job.task, pool, rows))[0] if checkpoint else 0
    keep_losses(folder, done)
    error_file(folder, job.parent).unlink(missing_ok=True)
    write_job(folder, job, pool, rows)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={strategy.devices}"]
    command += ["-m", "selectmm.tuning.rank", str(folder)]
    with running(command, environment, folder / LOG) as process:
        for entry in _follow(process, folder / LOSSES, done):
            log(entry)
    if process.returncode != 0:
        raise UserError(_explain(error_file(folder, job.parent), process.returncode))
    tidy(folder)


def tidy(folder: Path) -> None:
    """Delete what the workers of a run that has ended were told and said."""
    for file in [*(folder / name for name in (JOB, ROWS, LOG, LOCK)), *folder.glob("error-*.txt")]:
        file.unlink(missing_ok=True)


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A process in a session of its own (so a Ctrl-C reaches us alone), which does not outlive the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun ends its workers, which live in sessions of their own, and then itself
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()  # the workers notice that their parent is gone
                process.wait()


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


def _explain(error: Path, code: int) -> str:
    if error.exists():
        return error.read_text()
    log = error.parent / LOG
    output = log.read_text(errors="replace")
    if KILLED in output:
        return (
            f"A worker process was killed from outside, as Linux does when main memory runs out; use fewer devices or "
            f"strategy zero3, or free some memory, and start the same command again: it goes on from the last "
            f"checkpoint (all output is in {log})."
        )
    return f"A worker process ended with code {code}; its last lines (all in {log}):\n" + "\n".join(
        output.splitlines()[-TAIL:]
    )
