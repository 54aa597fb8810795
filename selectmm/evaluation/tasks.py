"""Task YAMLs of our own and of a suite, made readable for both harnesses.

A suite's task folder holds its YAMLs and may hold its data. It can be moved: instead of absolute paths its YAMLs write
``${here}`` (the folder itself), ``${lmms_eval}`` and ``${lm_eval}`` (the harnesses' own task folders, to ``include:``
from). The harnesses know no such words, so the YAMLs are copied to a temporary folder with the words replaced.

Data under ``${here}`` are read afresh each time: the `datasets` library would cache a local folder by its last name
alone, and show one folder's rows for another's, or yesterday's for today's.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from glob import has_magic
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from selectmm.errors import UserError
from selectmm.evaluation.local import HARNESSES, OURS, check_local, copy_tasks, rows_in, tasks_of
from selectmm.evaluation.suite import Benchmark


@contextmanager
def rendered(
    suite_tasks: Path | None, benchmarks: Sequence[Benchmark] = (), data: Path | None = None
) -> Iterator[Path]:
    """Yield a folder with our task YAMLs and the suite's, placeholders replaced; it is deleted afterwards.

    Until then `datasets` opens no file that local data only name.

    Args:
        benchmarks: whose built-in tasks read ``data``, see `selectmm.evaluation.local`.
        data: a folder laid out as the hub, or None to leave built-in tasks to the hub.

    Raises:
        UserError: the suite's task folder does not exist or holds no YAML, or ``data`` lacks a data set.
    """
    from selectmm.evaluation.cells import held_alone  # with `datasets`, a second

    with (
        TemporaryDirectory(prefix="selectmm-tasks-") as name,
        TemporaryDirectory(prefix="selectmm-data-") as beside,
        nullcontext() if data is None else held_alone(data),
    ):
        folder, mirrors = Path(name), Path(beside)
        if data is not None:
            check_local(benchmarks, suite_tasks, data)
            copy_tasks(benchmarks, suite_tasks, plain(data.resolve(), mirrors / "data"), folder)
        for number, source in enumerate([OURS] if suite_tasks is None else [OURS, suite_tasks]):
            files = sorted(source.glob("*.yaml"))
            if not files:
                raise UserError(
                    f"There are no task YAMLs in {source}; set suite.tasks to a folder that holds them (the embedded "
                    f"suite's is made together with its data)."
                )
            for file in files:
                here = plain(source.resolve(), mirrors / str(number))
                (folder / file.name).write_text(_replace(file.read_text(), here, folder))
        yield folder


def plain(folder: Path, mirror: Path) -> Path:
    """A folder whose path no library takes for a pattern: ``mirror``, filled with links, if ``folder`` looks like one.

    `datasets` finds the files of a local folder with a pattern that begins with the folder's own path, links followed.
    """
    if not has_magic(str(folder)):
        return folder
    if not mirror.exists():
        copytree(folder, mirror, copy_function=os.symlink)
    return mirror


def check_data(task: str, tasks: Path) -> None:
    """Look whether a task's local data are there, before a harness looks for them in its own way.

    Args:
        task: its name. One that is not in ``tasks``, or whose data are not in a local folder, passes.
        tasks: the `rendered` folder.

    Raises:
        UserError: the folder is not there or holds no rows.
    """
    for text in (file.read_text() for file in tasks.glob("*.yaml")):
        path = re.search(r"^dataset_path: (/.*)$", text, re.MULTILINE)
        if path is None or not re.search(rf"^task: {re.escape(task)}$", text, re.MULTILINE):
            continue
        data = Path(path[1])
        if not data.is_dir():
            raise UserError(f"Task '{task}': there is no data folder {data}; make the suite's data again.")
        if not rows_in(data):
            raise UserError(f"Task '{task}' has no items in {data}; make the suite's data again.")


def _replace(text: str, here: Path, folder: Path) -> str:
    if "${here}" in text:
        text += f"\ndataset_kwargs:\n  cache_dir: {folder / 'cache'}\n"
    for package in HARNESSES.values():
        for copied in sorted((folder / package).glob("*")):
            text = text.replace(f"${{{package}}}/{copied.name}/", f"{copied}/")
        text = text.replace(f"${{{package}}}", str(tasks_of(package)))
    return text.replace("${here}", str(here))
