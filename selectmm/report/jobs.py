"""What became of a sweep's jobs: the record of each, or why it failed, which takes no other down.

Both are kept as files in the jobs' folders, because a job may run on another machine than the sweep.
"""

import json
import logging
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from selectmm.cache.stage import write_atomically
from selectmm.cache.write_errors import full_disk
from selectmm.errors import UserError

if TYPE_CHECKING:
    from selectmm.experiment import Experiment

log = logging.getLogger("selectmm")

FAILURE, RECORD = "failure.json", "record.txt"


@dataclass(frozen=True)
class Failure:
    """What a job was to do (its overrides), and why it could not, in a sentence or as a traceback."""

    job: str
    reason: str


@contextmanager
def alone(folder: Path, overrides: Sequence[str]) -> Iterator[None]:
    """What fails inside the block is logged and kept in ``folder``, and the sweep goes on. Ctrl-C still ends it."""
    try:
        yield
    except Exception as problem:
        message = str(problem) if isinstance(problem, UserError) else full_disk(problem)
        reason = traceback.format_exc() if message is None else message
        failure = Failure(" ".join(overrides), reason)
        before = next((other.job for other in failures_in(folder.parent) if other.reason == reason), None)
        log.error("\nFailed    %s\n          %s", failure.job, f"as job {before}" if before else reason)
        write_atomically(folder / FAILURE, json.dumps(asdict(failure)))


def warn_of_failures(jobs: Sequence[tuple[DictConfig, str]], here: bool = False) -> None:
    """Log why some jobs of a sweep will fail, before the first one runs, because otherwise it would show hours later.

    Each job's choices are built, and the target examples opened, if its method chooses for some.

    Args:
        jobs: configurations, each with the name of its method.
        here: whether jobs run on this machine. Their pools are then opened now, each once, so that a bad row is
            reported once; what that computes is in the cache for the jobs.

    Raises:
        UserError: no job can run; with the reasons of all.
    """
    from selectmm.instantiate import build  # seconds
    from selectmm.methods.method import Needs
    from selectmm.stages.targets import targets_of

    reasons: Counter[str] = Counter()
    pools: dict[str, str | None] = {}
    for config, method in jobs:
        try:
            experiment = build(config, method)
            needs = experiment.method.needs() if experiment.schedule.wraps else Needs()
            targets_of(experiment.open_targets, experiment.suite, method, needs)
        except UserError as problem:
            reasons[str(problem)] += 1
            continue
        if here and (reason := _pool_fails(experiment, pools)):
            reasons[reason] += 1
    if reasons.total() == len(jobs):
        raise UserError(" ".join(reasons))
    if reasons:
        listed = "\n".join(f"  {reason} ({count})" for reason, count in reasons.items())
        log.warning(
            "%d of the sweep's %d jobs cannot run; the others will. Press Ctrl-C to correct the command first:\n%s",
            reasons.total(),
            len(jobs),
            listed,
        )


def _pool_fails(experiment: "Experiment", known: dict[str, str | None]) -> str | None:
    """Why the pool of an experiment cannot be opened; None if it can. ``known`` remembers each pool's answer."""
    name = json.dumps(experiment.config["pool"], sort_keys=True)
    if name not in known:
        try:
            experiment.open_pool()
            known[name] = None
        except UserError as problem:
            known[name] = str(problem)
    return known[name]


def keep_record(folder: Path, record: Path) -> None:
    """Note in a job's ``folder`` which record it wrote."""
    write_atomically(folder / RECORD, str(record))


def forget(sweep: Path) -> None:
    """Delete what became of the jobs of an earlier sweep in this folder, where hydra.sweep.dir names one."""
    for file in [*_of_jobs(sweep, FAILURE), *_of_jobs(sweep, RECORD)]:
        file.unlink(missing_ok=True)


def records_in(sweep: Path) -> list[Path]:
    """The records that the jobs of a sweep wrote, in the jobs' order, each once."""
    return list(dict.fromkeys(Path(path.read_text()) for path in _of_jobs(sweep, RECORD)))


def failures_in(sweep: Path) -> list[Failure]:
    """The failures of a sweep's jobs, in the jobs' order."""
    return [Failure(**json.loads(path.read_text())) for path in _of_jobs(sweep, FAILURE)]


def _of_jobs(sweep: Path, name: str) -> list[Path]:
    return sorted(sweep.glob(f"*/{name}"), key=lambda path: (len(path.parent.name), path.parent.name))


def log_failures(failures: Sequence[Failure], records: int) -> None:
    """Each reason once with its jobs, the last line of a traceback, and the way on.

    Args:
        records: how many jobs wrote one.
    """
    jobs: dict[str, list[str]] = {}
    for failure in failures:
        jobs.setdefault(failure.reason.strip().splitlines()[-1], []).append(failure.job)
    for reason, failed in jobs.items():
        log.error("Failed   %s: %s", "; ".join(failed), reason)
    if records:
        log.error("\n%d of the sweep's jobs failed; start the same command again to run only those.", len(failures))
    else:
        log.error("\nNone of the sweep's jobs wrote a record, so there is no report.")
