"""Several processes for one evaluation: helpers with a model of their own, one per device, answer a share each."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch

from selectmm.errors import UserError
from selectmm.evaluation.answering import ALONE, ENDING, Team
from selectmm.evaluation.suite import Images
from selectmm.records.stage import write_atomically
from selectmm.stages.launch import check_devices, rank_environment, running

POLL = 0.2  # seconds between looks at the helpers
TAIL = 15  # lines of a failed helper's output that are shown
PLACE, JOB = "helpers", "job.json"


@dataclass(frozen=True)
class Job:
    """What helpers evaluate, the same for all.

    Attributes:
        model, suite: their configurations, as `selectmm.instantiate` takes them.
        adapter: a folder of `finetune`, None for the base.
        seed, images: as `evaluate` has them.
    """

    model: Mapping[str, object]
    suite: Mapping[str, object]
    adapter: str | None
    seed: int
    images: Images = "shown"


@contextmanager
def hired(job: Job, workers: int, folder: Path, device: torch.device) -> Iterator[Team]:
    """Run ``workers`` - 1 helpers for the length of the block; yields this process's place among them, for `evaluate`.

    Answers do not depend on the number: every batch is the same one, whoever answers it.

    Args:
        folder: of the evaluation; helpers put their answers, and what they have to say, there.
        device: where this process's model is; helpers get the next ones.

    Raises:
        UserError: there are not so many GPUs; a helper failed (while answers are waited for).
    """
    if workers == 1:
        yield ALONE
        return
    check_devices(workers, device)
    place = folder / PLACE
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    write_atomically(place / JOB, json.dumps(asdict(job), indent=1, default=str))
    with ExitStack() as stack:
        helpers = []
        for rank in range(1, workers):
            command = [sys.executable, "-m", "selectmm.evaluation.worker", str(folder), str(rank), str(workers)]
            environment = rank_environment(device)
            helpers.append(stack.enter_context(running(command, environment, place / f"{rank}.log")))
        yield Team(0, workers, partial(_busy, helpers, place))
    shutil.rmtree(place)
    for late in folder.glob(f"*{ENDING}"):  # what a helper wrote that nobody had to wait for
        late.unlink()


def _busy(helpers: Sequence[subprocess.Popen], place: Path) -> bool:
    """Whether a helper is still at work.

    Raises:
        UserError: one has failed.
    """
    time.sleep(POLL)
    codes = [helper.poll() for helper in helpers]
    for rank, code in enumerate(codes, start=1):
        if code:
            raise UserError(_explain(place, rank, code))
    return None in codes


def _explain(place: Path, rank: int, code: int) -> str:
    error, log = place / f"{rank}.error", place / f"{rank}.log"
    if error.exists():
        return error.read_text()
    lines = log.read_text(errors="replace").splitlines()[-TAIL:]
    return f"Evaluation worker {rank} ended with code {code}; its last lines (all in {log}):\n" + "\n".join(lines)
