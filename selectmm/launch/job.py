"""The job of a stage's ranks: a file in the folder that they share with the process that starts them.

A job names code (``_target_`` of the model), and others may be able to write to the folder. So the ranks get the job's
SHA-256 on their command line, and read no other job.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.launch.follower import SHARED
from selectmm.launch.nodes import POLL

JOB = "job.json"


def write_job(folder: Path, job: Mapping[str, Any]) -> str:
    """Write what ranks are to do; returns its SHA-256, without which they do nothing."""
    content = json.dumps(job, indent=1, default=os.fspath).encode()
    write_atomically(folder / JOB, content)
    return hashlib.sha256(content).hexdigest()


def read_job(folder: Path, digest: str) -> dict[str, Any]:
    """What `write_job` wrote. For some seconds another node may still see what lay there before, so it looks again.

    Raises:
        UserError: something else lies there, or nothing.
    """
    deadline = time.monotonic() + SHARED
    while hashlib.sha256(content := _content(folder / JOB)).hexdigest() != digest:
        if time.monotonic() < deadline:
            time.sleep(POLL)
            continue
        raise UserError(
            f"{folder / JOB} is not what this run wrote there. Another process changed it; set cache= to a folder that "
            f"nobody else writes to, and start the same command again."
        )
    return json.loads(content)


def _content(file: Path) -> bytes:
    """Nothing where there is no file; a network file system may also tell of one that is gone (ESTALE)."""
    with suppress(OSError):
        return file.read_bytes()
    return b""
