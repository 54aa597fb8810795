"""The held-out benchmark's tasks, under a name that says which clips they show.

An evaluation is named by what is in its suite's task folder, where clips are only paths: another clip at the same path
got the old one's scores. It is named by the code of `selectmm.evaluation` too, so that this is done from outside: there
it would have every benchmark evaluated again.
"""

import json
import os
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from selectmm.evaluation.own import tasks_with_own
from selectmm.pool.pool import Pool

CLIPS = "own-clips.json"  # in the task folder, where rows show clips: the rows' fingerprint, which covers clips' sizes


def heldout_tasks(tasks: str | Path | None, rows: Pool, cache: str) -> Path:
    """See `selectmm.evaluation.own.tasks_with_own`, which copies what it finds beside its own tasks."""
    if not rows.clips.any():
        return tasks_with_own(tasks, rows, cache)
    with TemporaryDirectory(prefix="selectmm-heldout-") as name:
        beside = Path(name) / "tasks"
        if tasks is not None and Path(tasks).is_dir():
            copytree(Path(tasks).resolve(), beside, copy_function=os.symlink)  # they may hold large data
        beside.mkdir(exist_ok=True)
        (beside / CLIPS).write_text(json.dumps({"rows": rows.fingerprint}))
        return tasks_with_own(beside, rows, cache)
