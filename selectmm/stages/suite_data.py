"""Whether the benchmarks' data can be read, looked at before hours of training."""

import re

from selectmm.evaluation.local import check_local, hub_names, task_files
from selectmm.evaluation.suite import Suite
from selectmm.network import check_data_set, check_token

_TOKEN = re.compile(r"^[ \t]+token: True\b", re.MULTILINE)  # lmms-eval's tasks do not load without one


def check_data(suite: Suite) -> None:
    """Look whether every data set of the suite's benchmarks is on this machine or can be downloaded.

    Raises:
        UserError: one is not in ``suite.data``; or it would have to be downloaded, and the hub cannot be reached or the
            task wants an access token that is not there.
    """
    if suite.data is not None:
        check_local(suite.benchmarks, suite.tasks, suite.data)
        return
    names = {benchmark.name: hub_names(benchmark, suite.tasks) for benchmark in suite.benchmarks}
    for name in dict.fromkeys(name for some in names.values() for name in some):
        check_data_set(name, "suite.data")
    for benchmark in suite.benchmarks:
        if names[benchmark.name] and any(_TOKEN.search(f.read_text()) for f in task_files(benchmark, suite.tasks)):
            check_token(f"Benchmark '{benchmark.name}'", names[benchmark.name][0], "suite.data")
