"""Built-in tasks on local data: a folder that is laid out as the hub, ``<data>/<owner>/<dataset>``.

A data set's folder holds what its hub repository holds, parquet files and a README.md whose ``configs:`` name them (a
download with ``--local-dir`` is one). The harnesses' task files name hub repositories, some in code too (GQA joins two
configurations), so the folders of the tasks that are needed are copied and the names in them replaced.

Data are read afresh each time, see `selectmm.evaluation.tasks`.
"""

import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree, ignore_patterns

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from selectmm.errors import UserError
from selectmm.evaluation.suite import Benchmark, Suite
from selectmm.network import check_inside

OURS = Path(__file__).parent / "yaml"  # tasks of ours that every suite may name
HARNESSES = {"lmms-eval": "lmms_eval", "lm-eval": "lm_eval"}  # their packages
_END = r"[ \t]*(?:#.*)?$"  # a remark may follow
_NAMES = re.compile(rf"^[\"']?dataset_path[\"']?:\s*[\"']?([\w.-]+/[\w.-]+)[\"']?{_END}", re.MULTILINE)
_DEFINES = re.compile(rf"^[\"']?(?:task|group)[\"']?[ \t]*:[ \t]*[\"']?([\w.-]+)[\"']?{_END}", re.MULTILINE)
_INCLUDE = re.compile(r"^[\"']?include[\"']?:\s*[\"']?([^\"'\s]+)[\"']?\s*$", re.MULTILINE)


def tasks_of(package: str) -> Path:
    """The folder of a harness's own tasks.

    Raises:
        UserError: the harness is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"The package '{package}' is not installed; install from requirements.lock (see the README).")
    return Path(spec.origin).parent / "tasks"


def check_local(benchmarks: Sequence[Benchmark], suite_tasks: Path | None, data: Path) -> None:
    """Look whether every data set that the benchmarks' tasks read lies in ``data`` and has rows.

    Raises:
        UserError: one does not.
    """
    for benchmark in benchmarks:
        for name in hub_names(benchmark, suite_tasks):
            folder = data / name
            if not folder.is_dir():
                raise UserError(
                    f"Benchmark '{benchmark.name}': there is no data folder {folder} for task '{benchmark.task}'; put "
                    f"the hub's data set {name} there, or set suite.data=null to read it from the hub."
                )
            check_inside(folder)
            if not rows_in(folder):
                raise UserError(
                    f"Benchmark '{benchmark.name}': the data folder {folder} holds no rows in parquet files."
                )
            _check_split(benchmark, task_files(benchmark, suite_tasks), folder)


def rows_in(folder: Path) -> int:
    """How many rows the parquet files below ``folder`` hold.

    Raises:
        UserError: one of them is not whole.
    """
    found = 0
    for file in sorted(folder.rglob("*.parquet")):
        try:
            found += pq.read_metadata(file).num_rows
        except (pa.ArrowException, OSError) as problem:
            raise UserError(
                f"{file} is not a whole parquet file ({problem!s:.200}); download it again. (A file of some hundred "
                f"bytes may be a pointer of Git LFS: `git lfs pull` puts the data in its place.)"
            ) from problem
    return found


def _check_split(benchmark: Benchmark, task: Sequence[Path], folder: Path) -> None:
    """Look whether the data set's README names the configuration and split that a task reads (groups read many)."""
    config = _entry(task, "dataset_name") or "default"
    wanted = f"{config}/{_entry(task, 'test_split') or _entry(task, 'validation_split')}"
    there = _splits_named_in(folder / "README.md")
    if there and not wanted.endswith("/None") and wanted not in there:
        raise UserError(
            f"Benchmark '{benchmark.name}': the data set {folder} has no configuration and split {wanted}, which task "
            f"'{benchmark.task}' reads; it has: {', '.join(there)}."
        )


def _splits_named_in(readme: Path) -> list[str]:
    """Configurations and splits that a data set's README lists; none if it lists them in another way, or not at all."""
    if not readme.exists():
        return []
    front = re.match(r"---\n(.*?)\n---", readme.read_text(errors="replace"), re.DOTALL)
    said = yaml.safe_load(front[1]) if front else None  # `check_inside` has read it
    configs = said.get("configs") if isinstance(said, dict) else None
    found = []
    for config in configs if isinstance(configs, list) else []:
        files = config.get("data_files") if isinstance(config, dict) else None
        for file in files if isinstance(files, list) else []:
            if isinstance(file, dict) and "split" in file:
                found.append(f"{config.get('config_name', 'default')}/{file['split']}")
    return found


def _entry(files: Sequence[Path], key: str) -> str | None:
    """What a task's files say of ``key``; an including file is asked before the included one."""
    for file in files:
        if found := re.search(rf"^[\"']?{key}[\"']?:[ \t]*[\"']?([\w-]+)", file.read_text(), re.MULTILINE):
            return None if found[1] in ("null", "None") else found[1]
    return None


def copy_tasks(benchmarks: Sequence[Benchmark], suite_tasks: Path | None, data: Path, to: Path) -> None:
    """Copy the harness folders of the benchmarks' tasks to ``<to>/<package>``, reading ``data`` instead of the hub."""
    for benchmark in benchmarks:
        package = HARNESSES[benchmark.harness]
        for file in task_files(benchmark, suite_tasks):
            if not file.is_relative_to(tasks_of(package)):
                continue
            top = file.relative_to(tasks_of(package)).parts[0]
            if not (to / package / top).exists():
                copytree(tasks_of(package) / top, to / package / top, ignore=ignore_patterns("__pycache__"))
                _localise(to / package / top, data, to / "cache")


def local_files(suite: Suite) -> list[Path]:
    """What the suite's tasks read below ``suite.data``: parquet files and READMEs, not what downloads leave beside."""
    names = {name for benchmark in suite.benchmarks for name in hub_names(benchmark, suite.tasks)}
    files = [file for name in names for file in (suite.data / name).rglob("*")]
    return sorted(file for file in files if file.suffix == ".parquet" or file.name == "README.md")


def _localise(folder: Path, data: Path, cache: Path) -> None:
    texts = {file: file.read_text() for file in folder.rglob("*") if _is_text(file)}
    names = {name for text in texts.values() for name in _NAMES.findall(text)}
    for file, text in texts.items():
        reads = bool(_NAMES.search(text))
        for name in names:
            text = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])", str(data.absolute() / name), text)
        text = re.sub(rf"^([ \t]+)token: True{_END}", rf"\1cache_dir: {cache}", text, flags=re.MULTILINE)
        if reads and "dataset_kwargs:" not in text:
            text += f"\ndataset_kwargs:\n  cache_dir: {cache}\n"
        file.write_text(text)


def _is_text(file: Path) -> bool:
    return file.is_file() and (file.suffix in {".yaml", ".py"} or file.name.endswith("_yaml"))


def hub_names(benchmark: Benchmark, suite_tasks: Path | None) -> list[str]:
    """The hub repositories that a task reads; of a group of tasks, those named beside it."""
    chain = task_files(benchmark, suite_tasks)
    for file in chain:
        if found := _NAMES.findall(file.read_text()):
            return found[:1]
        if re.search(r"^dataset_path:", file.read_text(), re.MULTILINE):
            return []  # data of the suite's own
    beside = [path for file in chain[-1:] for path in file.parent.iterdir() if _is_text(path)]
    return sorted({name for path in beside for name in _NAMES.findall(path.read_text())})


def task_files(benchmark: Benchmark, suite_tasks: Path | None) -> list[Path]:
    """The file that defines the benchmark's task and those that it includes; none if nobody knows the task."""
    own = [OURS] if suite_tasks is None else [suite_tasks, OURS]
    found = next((index[benchmark.task] for index in map(_index, own) if benchmark.task in index), None)
    found = found or _built_in(HARNESSES[benchmark.harness]).get(benchmark.task)
    chain = [] if found is None else [found]
    while chain and (name := _INCLUDE.search(chain[-1].read_text())):
        chain.append(_included(name[1], chain[-1], own))
    return chain


def _index(folder: Path) -> dict[str, Path]:
    """The YAMLs below a folder by the task or group that they define (by the first file, if there are several)."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.yaml")):
        for name in _DEFINES.findall(file.read_text()):
            found.setdefault(name, file)
    return found


@cache
def _built_in(package: str) -> dict[str, Path]:
    return _index(tasks_of(package))


def _included(name: str, by: Path, own: Sequence[Path]) -> Path:
    for package in HARNESSES.values():
        name = name.replace(f"${{{package}}}", str(tasks_of(package)))
    places = [by.parent, *own]
    return next((place / name for place in places if (place / name).exists()), by.parent / name)
