"""What a benchmark's task is made of: a hash of its YAML, of the code and templates beside it, and of code of ours."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from selectmm.errors import UserError
from selectmm.evaluation.local import HARNESSES, task_files, tasks_of
from selectmm.evaluation.suite import Benchmark

OURS = Path(__file__).parent
NAMED = re.compile(r"!function selectmm\.evaluation\.(\w+)\.")


def task_hash(benchmark: Benchmark, suite_tasks: Path | None) -> str:
    """16 hex characters over the task's YAML, those that it includes, a harness's YAML and Python beside them, and the
    modules of ours that they name.

    Data are not in it (the manifest has hashes of prompts, targets and pictures); the same files give the same hash on
    every machine.

    Raises:
        UserError: no YAML declares the task.
    """
    chain = task_files(benchmark, suite_tasks)
    if not chain:
        raise UserError(f"No YAML declares the task '{benchmark.task}' of {benchmark.name}.")
    files = _with_code(chain, tasks_of(HARNESSES[benchmark.harness]))
    content = hashlib.sha256()
    for file in sorted(files, key=lambda file: (file.name, file.read_bytes())):
        content.update(file.name.encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:16]


def _with_code(chain: Sequence[Path], harness: Path) -> set[Path]:
    """The files, and all YAML and Python beside those that are a harness's."""
    folders = {file.parent for file in chain if file.is_relative_to(harness)}
    beside = (file for folder in folders for file in folder.iterdir() if file.suffix in (".yaml", ".py"))
    ours = (OURS / f"{name}.py" for file in chain for name in NAMED.findall(file.read_text(encoding="utf-8")))
    return {*chain, *beside, *ours}
