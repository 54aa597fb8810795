"""Whether the benchmarks' data can be read, looked at before hours of training."""

from selectmm.evaluation.local import check_local, hub_names
from selectmm.evaluation.suite import Suite
from selectmm.network import check_data_set


def check_data(suite: Suite) -> None:
    """Look whether every data set of the suite's benchmarks is on this machine or can be downloaded.

    Raises:
        UserError: one is not in ``suite.data``; or it would have to be downloaded, and the hub cannot be reached.
    """
    if suite.data is not None:
        check_local(suite.benchmarks, suite.tasks, suite.data)
        return
    names = [name for benchmark in suite.benchmarks for name in hub_names(benchmark, suite.tasks)]
    for name in dict.fromkeys(names):
        check_data_set(name, "suite.data")
