"""A helper: ``python -m selectmm.evaluation.worker FOLDER RANK WORKERS``. Started by `selectmm.evaluation.workers`."""

import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from threading import Thread

import torch

from selectmm.errors import UserError
from selectmm.evaluation.answering import Team
from selectmm.evaluation.evaluate import help_evaluate
from selectmm.evaluation.workers import JOB, PLACE, Job
from selectmm.instantiate import open_model, open_suite
from selectmm.tuning.adapter import load_adapter


def main(folder: Path, team: Team) -> int:
    """Answer this rank's share; 1 if a user can mend what went wrong."""
    Thread(target=_end_if_orphaned, args=(os.getppid(),), daemon=True).start()
    place = folder / PLACE
    job = Job(**json.loads((place / JOB).read_text()))
    try:
        vlm = open_model({**job.model, **_device(job, team.rank)})
        with nullcontext(vlm) if job.adapter is None else load_adapter(vlm, Path(job.adapter)) as adapted:
            help_evaluate(adapted, open_suite(job.suite), folder, job.seed, job.images, team)
    except UserError as problem:
        (place / f"{team.rank}.error").write_text(str(problem))
        return 1
    return 0


def _device(job: Job, rank: int) -> dict[str, str]:
    on_gpu = torch.cuda.is_available() and not str(job.model.get("device", "auto")).startswith("cpu")
    return {"device": f"cuda:{rank}"} if on_gpu else {}


def _end_if_orphaned(parent: int) -> None:
    """A killed starter must not leave helpers that go on unseen; what they have answered is kept."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Team(int(sys.argv[2]), int(sys.argv[3]))))
