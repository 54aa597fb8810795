"""Jobs of a sweep that failed: each is told where it happened and again at the end, and takes no other down."""

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
from selectmm.records.stage import write_atomically

log = logging.getLogger("selectmm")

FAILURE = "failure.json"


@dataclass(frozen=True)
class Failure:
    """What a job was to do (its overrides), and why it could not, in a sentence or as a traceback."""

    job: str
    reason: str


@contextmanager
def alone(folder: Path, overrides: Sequence[str]) -> Iterator[None]:
    """What fails inside the block is logged and kept in ``folder``, and the sweep goes on. Ctrl-C still ends it.

    Kept as a file, because a job may run on another machine than the sweep.
    """
    try:
        yield
    except Exception as problem:
        reason = str(problem) if isinstance(problem, UserError) else traceback.format_exc()
        failure = Failure(" ".join(overrides), reason)
        log.error("\nFailed    %s\n          %s", failure.job, reason)
        write_atomically(folder / FAILURE, json.dumps(asdict(failure)))


def foretell(jobs: Sequence[tuple[DictConfig, str]]) -> None:
    """Tell what some jobs of a sweep will fail of, before the first one runs: it would be told hours later.

    Args:
        jobs: configurations, each with the name of its method.

    Raises:
        UserError: of every job.
    """
    from selectmm.door import build  # seconds

    reasons: Counter[str] = Counter()
    for config, method in jobs:
        try:
            build(config, method).method.needs()
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


def failures_in(sweep: Path) -> list[Failure]:
    """Of all jobs of a sweep, in the jobs' order."""
    found = sorted(sweep.glob(f"*/{FAILURE}"), key=lambda path: (len(path.parent.name), path.parent.name))
    return [Failure(**json.loads(path.read_text())) for path in found]


def tell_failures(failures: Sequence[Failure]) -> None:
    """One line each, the last of a traceback's, and the way on."""
    for failure in failures:
        log.error("Failed   %s: %s", failure.job, failure.reason.strip().splitlines()[-1])
    log.error("\n%d of the sweep's jobs failed; start the same command again and only they run.", len(failures))
