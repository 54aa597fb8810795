"""How many items a suite asks: counted where its data lie in a local folder, else as they are published."""

import re
import sys

import pyarrow.parquet as pq

from selectmm.evaluation.suite import Suite
from selectmm.planning.known.benchmarks import TASKS


def items_of(suite: Suite) -> dict[str, int | None]:
    """Items by task, each task once; None where neither the suite's own folder has its data nor `TASKS` its number.

    Of a task of several parts, such as the subjects of MMLU, the harness takes ``limit`` items of each; all parts are
    assumed to have as many.
    """
    known = {task: asked.items for task, asked in TASKS.items()} | local_items(suite)
    most = suite.limit if suite.limit is not None else sys.maxsize
    parts = {task: asked.parts for task, asked in TASKS.items()}
    tasks = [benchmark.task for benchmark in suite.benchmarks]
    return {task: min(known[task], most * parts.get(task, 1)) if task in known else None for task in tasks}


def local_items(suite: Suite) -> dict[str, int]:
    """Items by task, of those whose data lie in the suite's own folder."""
    found = {}
    for file in sorted(suite.tasks.glob("*.yaml")) if suite.tasks else ():
        text = file.read_text(encoding="utf-8")
        task, data = re.search(r"^task: (\S+)$", text, re.MULTILINE), re.search(r"\$\{here\}/(\S+)", text)
        if task and data:
            files = (suite.tasks / data[1]).rglob("*.parquet")
            found[task[1]] = sum(pq.read_metadata(file).num_rows for file in files)
    return found
