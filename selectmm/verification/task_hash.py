"""What a benchmark's task is made of: a hash of its YAML and of the code and templates beside it."""

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from selectmm.errors import UserError
from selectmm.evaluation.suite import Benchmark
from selectmm.evaluation.tasks import OURS

PACKAGES = {"lmms-eval": "lmms_eval", "lm-eval": "lm_eval"}


def task_hash(benchmark: Benchmark, suite_tasks: Path | None) -> str:
    """16 hex characters over the task's YAML, the files that it includes, and all YAML and Python beside them.

    Data are not in it (the manifest has the prompts' hash); the same files give the same hash on every machine.

    Raises:
        UserError: no YAML declares the task.
    """
    harness = _tasks_of(benchmark.harness)
    folders = [OURS, harness] if suite_tasks is None else [suite_tasks, OURS, harness]
    start = next((found for folder in folders if (found := _declaring(folder, benchmark))), None)
    if start is None:
        raise UserError(f"No YAML declares the task '{benchmark.task}' of {benchmark.name}.")
    content = hashlib.sha256()
    for file in sorted(_files(start, suite_tasks, harness), key=lambda file: (file.name, file.read_bytes())):
        content.update(file.name.encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:16]


def _tasks_of(harness: str) -> Path:
    return Path(find_spec(PACKAGES[harness]).origin).parent / "tasks"


def _declaring(folder: Path, benchmark: Benchmark) -> Path | None:
    """The YAML that declares the task or group."""
    declares = re.compile(rf"^(task|group): *[\"']?{re.escape(benchmark.task)}[\"']? *(#.*)?$", re.MULTILINE)
    return next((file for file in sorted(folder.rglob("*.yaml")) if declares.search(file.read_text())), None)


def _files(file: Path, suite_tasks: Path | None, harness: Path) -> set[Path]:
    """The file, what lies beside it if it is a harness's, and the same of what it includes."""
    beside = [*file.parent.glob("*.yaml"), *file.parent.glob("*.py")] if harness in file.parents else []
    found = {file, *beside}
    for name in re.findall(r"^include: *(\S+)", file.read_text(), re.MULTILINE):
        included = _included(name, [file.parent, *([suite_tasks] if suite_tasks else []), OURS])
        found |= _files(included, suite_tasks, harness)
    return found


def _included(name: str, folders: list[Path]) -> Path:
    for harness, package in PACKAGES.items():
        name = name.replace(f"${{{package}}}", str(_tasks_of(harness)))
    return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)
