"""Several jobs in one start of two worker processes: a start takes longer than a tiny job.

``torchrun … -m tests.tuning.crowd DEATH FOLDER …`` is one rank; `train` starts both from a test.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from selectmm.stages.launch import rank_environment, serve
from selectmm.tuning import worker
from selectmm.tuning.callback import keep_losses
from selectmm.tuning.checkpoint import asked_of, latest, read_meta
from selectmm.tuning.job import Job, Part, Task, write_job
from selectmm.tuning.recipe import Recipe, Strategy
from tests.tuning.conftest import RECIPE, Bench

LIMIT = 240  # seconds, many times what it takes; ranks that wait for each other wait for ever


@dataclass(frozen=True)
class Case:
    """A job over two ranks: which model learns which of the pool's rows.

    Attributes:
        part: the steps of a run that it takes, if not all of ``steps``. after: the case that ends where it begins.
    """

    bench: Bench
    strategy: Strategy
    rows: np.ndarray
    recipe: Recipe = RECIPE
    part: Part | None = None
    steps: int = 0
    after: str = ""

    def write(self, folder: Path) -> None:
        """What `selectmm.tuning.spawn` writes before it starts the ranks."""
        pool = self.bench.pool
        part = replace(self.part, before=str(folder.parent / self.after)) if self.after else self.part
        steps = self.steps or self.recipe.steps(len(pool), len(self.rows))
        task = Task(self.recipe, self.strategy, steps, seed=0, part=part)
        checkpoint = latest(folder)
        keep_losses(folder, read_meta(checkpoint, asked_of(task, pool, self.rows))[0] if checkpoint else 0)
        write_job(folder, Job(task, self.bench.build, str(pool.image_root)), pool, self.rows)


def train(cases: Mapping[str, Case], root: Path, death: str = "") -> None:
    """Train each case in ``root/name``, or go on there; fails with the ranks' output, also if they hang.

    Args:
        death: rank 0 is killed before it renames this file or folder, and then that is what must happen.
    """
    for name, case in cases.items():
        (root / name).mkdir(exist_ok=True)
        case.write(root / name)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.tuning.crowd", death, *(str(root / name) for name in cases)]
    output = root / "crowd.log"
    with output.open("w") as log:
        process = subprocess.Popen(
            command, env=rank_environment(torch.device("cpu")), stdout=log, stderr=log, start_new_session=True
        )
        try:
            code: int | str = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = f"none: they hang after {LIMIT} s"
        finally:
            process.terminate()  # torchrun ends its ranks
            process.wait()
    told = [error.read_text() for error in root.glob("*/error-*.txt")]
    assert code == 0 or (death and f"-{signal.SIGKILL:d}" in output.read_text()), "\n".join(
        [f"exit code {code}", *told, output.read_text()[-4000:]]
    )


def kill_before(event: str, path: str) -> None:
    """SIGKILL for this process before ``event`` happens to a path with ``path`` in it; it cannot be taken back.

    Python itself tells of what it does to files (PEP 578), so nothing of ours is replaced.
    """

    def watch(found: str, given: tuple) -> None:
        if found == event and path in str(given[0]) and (found != "open" or given[2] & (os.O_WRONLY | os.O_RDWR)):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


if __name__ == "__main__":
    if sys.argv[1] and os.environ["RANK"] == "0":
        kill_before("os.rename", sys.argv[1])
    sys.exit(max(serve([folder, "crowd", str(os.getppid())], worker.train) for folder in sys.argv[2:]))
