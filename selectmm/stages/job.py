"""The job of a stage's ranks: a file in the folder that they share with the process that starts them.

A job names code (``_target_`` of the model), and others may be able to write to the folder. So the ranks get the job's
SHA-256 on their command line, and read no other job.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selectmm.errors import UserError
from selectmm.records.stage import write_atomically

JOB = "job.json"


def write_job(folder: Path, job: Mapping[str, Any]) -> str:
    """Write what ranks are to do; returns its SHA-256, without which they do nothing."""
    content = json.dumps(job, indent=1, default=os.fspath).encode()
    write_atomically(folder / JOB, content)
    return hashlib.sha256(content).hexdigest()


def read_job(folder: Path, digest: str) -> dict[str, Any]:
    """What `write_job` wrote.

    Raises:
        UserError: something else lies there now.
    """
    content = (folder / JOB).read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(
            f"{folder / JOB} is not what this run wrote there. Another process changed it; set cache= to a folder that "
            f"nobody else writes to, and start the same command again."
        )
    return json.loads(content)
