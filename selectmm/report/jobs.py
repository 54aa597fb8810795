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

from omegaconf import DictConfig

from selectmm.errors import UserError
from selectmm.records.stage import full_disk, write_atomically

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
        told = str(problem) if isinstance(problem, UserError) else full_disk(problem)
        reason = traceback.format_exc() if told is None else told
        failure = Failure(" ".join(overrides), reason)
        log.error("\nFailed    %s\n          %s", failure.job, reason)
        write_atomically(folder / FAILURE, json.dumps(asdict(failure)))


def foretell(jobs: Sequence[tuple[DictConfig, str]]) -> None:
    """Tell what some jobs of a sweep will fail of, before the first one runs: it would be told hours later.

    Each job's choices are built, and the target examples opened, if its method chooses for some.

    Args:
        jobs: configurations, each with the name of its method.

    Raises:
        UserError: of every job.
    """
    from selectmm.door import build  # seconds
    from selectmm.selection import targets_of

    reasons: Counter[str] = Counter()
    for config, method in jobs:
        try:
            experiment = build(config, method)
            targets_of(experiment, experiment.method.needs())
        except UserError as problem:
            reasons[str(problem)] += 1
    if reasons.total() == len(jobs):
        raise UserError(" ".join(reasons))
    if reasons:
        told = "\n".join(f"  {reason} ({count})" for reason, count in reasons.items())
        log.warning(
            "%d of the sweep's %d jobs cannot run, the others will; Ctrl-C to mend the command first:\n%s",
            reasons.total(),
            len(jobs),
            told,
        )


def keep_record(folder: Path, record: Path) -> None:
    """Note in a job's ``folder`` which record it wrote."""
    write_atomically(folder / RECORD, str(record))


def records_in(sweep: Path) -> list[Path]:
    """The records that the jobs of a sweep wrote, in the jobs' order, each once."""
    return list(dict.fromkeys(Path(path.read_text()) for path in _of_jobs(sweep, RECORD)))


def failures_in(sweep: Path) -> list[Failure]:
    """Of all jobs of a sweep, in the jobs' order."""
    return [Failure(**json.loads(path.read_text())) for path in _of_jobs(sweep, FAILURE)]


def _of_jobs(sweep: Path, name: str) -> list[Path]:
    return sorted(sweep.glob(f"*/{name}"), key=lambda path: (len(path.parent.name), path.parent.name))


def tell_failures(failures: Sequence[Failure]) -> None:
    """One line each, the last of a traceback's, and the way on."""
    for failure in failures:
        log.error("Failed   %s: %s", failure.job, failure.reason.strip().splitlines()[-1])
    log.error("\n%d of the sweep's jobs failed; start the same command again and only they run.", len(failures))
