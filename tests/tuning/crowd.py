"""Jobs over several ranks, which are forked from the test's process: a rank of its own imports longer than it trains.

The environment of a rank is torchrun's. Tests of the package's own start of ranks are beside those of
`selectmm.launch.launch`; one in ``test_strategies.py`` trains under it.
"""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch.distributed import TCPStore

from selectmm.errors import UserError
from selectmm.launch.job import write_job
from selectmm.launch.launch import rank_environment, serve
from selectmm.tuning import worker
from selectmm.tuning.callback import TrainingCallback, keep_losses
from selectmm.tuning.checkpoint import expected_meta, latest, read_meta
from selectmm.tuning.job import Job, Part, Task, write_rows
from selectmm.tuning.module import Tuning
from selectmm.tuning.recipe import Recipe, Strategy
from tests.tuning.conftest import RECIPE, Bench

UNTIL = "until.txt"
LIMIT = 240  # seconds, several times what it takes with compiling; ranks that wait for each other wait for ever


@dataclass(frozen=True)
class Case:
    """A job over several ranks: which model learns which of the pool's rows.

    Attributes:
        part: the steps of a run that it takes, if not all of ``steps``. after: the case that ends where it begins.
        until: the step after which it is stopped.
    """

    bench: Bench
    strategy: Strategy
    rows: np.ndarray
    recipe: Recipe = RECIPE
    part: Part | None = None
    steps: int = 0
    after: str = ""
    until: int | None = None

    def write(self, folder: Path) -> str:
        """Write what `selectmm.tuning.spawn` does before it starts the ranks; returns the job's SHA-256."""
        pool = self.bench.pool
        part = replace(self.part, before=str(folder.parent / self.after)) if self.after else self.part
        steps = self.steps or self.recipe.steps(len(pool), len(self.rows))
        task = Task(self.recipe, self.strategy, steps, seed=0, part=part)
        checkpoint = latest(folder)
        keep_losses(folder, read_meta(checkpoint, expected_meta(task, pool, self.rows))[0] if checkpoint else 0)
        (folder / UNTIL).write_text(str(self.until or task.steps + 1))
        write_rows(folder, pool, self.rows)
        return write_job(folder, asdict(Job(task, self.bench.build, str(pool.image_root))))


def train(cases: Mapping[str, Case], root: Path, death: str = "", ranks: int = 2) -> None:
    """Train each case in ``root/name``, or go on there; fails with the ranks' output, also if they hang.

    Args:
        death: rank 0 is killed before it renames this file or folder, and then that is what must happen.
    """
    jobs = {}
    for name, case in cases.items():
        (root / name).mkdir(exist_ok=True)
        jobs[root / name] = case.write(root / name)
    output, store = root / "crowd.log", TCPStore("127.0.0.1", 0, is_master=True)
    environment = rank_environment(torch.device("cpu"), ranks) | _torchrun(store.port, ranks)
    os.environ["DS_ACCELERATOR"] = environment["DS_ACCELERATOR"]  # as DeepSpeed is imported for the first time
    import deepspeed.runtime.zero.muon.original_muon  # noqa: F401  (once, here: ranks need both, which takes seconds)

    output.touch()
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=_be, args=(rank, environment, death, jobs, output)) for rank in range(ranks)]
    for process in started:
        process.start()
    ends = _ended(started)
    text = [error.read_text() for error in root.glob("*/error-*.txt")]
    assert ends == [0] * ranks or (death and ends[0] == -signal.SIGKILL), "\n".join(
        [f"exit codes {ends}", *text, output.read_text()[-4000:]]
    )


def _torchrun(port: int, ranks: int) -> dict[str, str]:
    """What torchrun tells every rank on a single node; the store at ``port`` is the starter's, as torchrun's is."""
    sizes = {"WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": ranks, "GROUP_WORLD_SIZE": 1, "GROUP_RANK": 0}
    store = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_USE_AGENT_STORE": True}
    more = {"TORCHELASTIC_RUN_ID": "crowd", "TORCHELASTIC_RESTART_COUNT": 0, "TORCHELASTIC_MAX_RESTARTS": 0}
    return {name: str(value) for name, value in (sizes | store | more).items()}


def _ended(started: Sequence[BaseProcess]) -> list[int | str]:
    """The exit codes of all ranks; once one has failed, or time is over, the others are ended."""
    until, running = monotonic() + LIMIT, list(started)
    while running and all(process.exitcode in (None, 0) for process in started) and monotonic() < until:
        wait([process.sentinel for process in running], until - monotonic())
        running = [process for process in running if process.is_alive()]
    late = {process for process in running if monotonic() >= until}
    for process in running:
        process.kill()
    for process in started:
        process.join()
    return [f"none: it hangs after {LIMIT} s" if process in late else process.exitcode for process in started]


def _be(rank: int, environment: Mapping[str, str], death: str, jobs: Mapping[Path, str], output: Path) -> None:
    """A rank's whole life."""
    gc.freeze()  # DeepSpeed collects garbage by hand, for each model, and would look through all that pytest has
    with output.open("a") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
    if death and rank == 0:
        kill_before("os.rename", death)
    parent = str(os.getppid())
    sys.exit(max(serve([str(folder), "crowd", parent, job], train_until) for folder, job in jobs.items()))


def kill_before(event: str, path: str) -> None:
    """SIGKILL for this process before ``event`` happens to a path with ``path`` in it; it cannot be taken back.

    Python itself tells of what it does to files (PEP 578), so nothing of ours is replaced.
    """

    def watch(found: str, given: tuple) -> None:
        if found == event and path in str(given[0]) and (found != "open" or given[2] & (os.O_WRONLY | os.O_RDWR)):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


class Stopped(UserError):
    """A job has come as far as it was to come."""


def train_until(folder: Path, job: Mapping[str, Any], rank: int, ranks: int) -> None:
    """`worker.train`, which is left on every rank after the step that its folder names."""
    until, end = int((folder / UNTIL).read_text()), TrainingCallback._end_step

    def end_step(self: TrainingCallback, trainer: object, module: Tuning, step: int) -> None:
        end(self, trainer, module, step)
        if step == until:
            raise Stopped

    TrainingCallback._end_step = end_step
    try:
        worker.train(folder, job, rank, ranks)
    except Stopped:
        pass
    finally:
        TrainingCallback._end_step = end
