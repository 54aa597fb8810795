"""How many items a suite asks, where its data lie in a local folder."""

import re

import pyarrow.parquet as pq

from selectmm.evaluation.suite import Suite


def items_of(suite: Suite) -> dict[str, int | None]:
    """Items by task, each task once; None where its data are not in the suite's own folder (a hub's are not asked)."""
    local = {}
    for file in sorted(suite.tasks.glob("*.yaml")) if suite.tasks else ():
        text = file.read_text(encoding="utf-8")
        task, data = re.search(r"^task: (\S+)$", text, re.MULTILINE), re.search(r"\$\{here\}/(\S+)", text)
        if task and data:
            files = (suite.tasks / data[1]).rglob("*.parquet")
            local[task[1]] = sum(pq.read_metadata(file).num_rows for file in files)
    most = suite.limit if suite.limit is not None else float("inf")
    tasks = [benchmark.task for benchmark in suite.benchmarks]
    return {task: min(local[task], most) if task in local else None for task in tasks}
