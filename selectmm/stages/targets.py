"""The examples of benchmarks that some methods choose rows for."""

from collections.abc import Callable

from selectmm.errors import UserError
from selectmm.evaluation.suite import Suite
from selectmm.methods.method import Needs
from selectmm.pool.pool import Pool


def targets_of(opened: Callable[[], Pool] | None, suite: Suite, method: str, needs: Needs) -> Pool | None:
    """Examples of the suite's benchmarks, if the method chooses for them.

    Args:
        opened: opens the examples; None if none were chosen. method: its name, for the error.

    Raises:
        UserError: there are none, or they are of benchmarks that the suite does not have.
    """
    if not needs.targets:
        return None
    if opened is None:
        raise UserError(
            f"method={method} needs examples of the target benchmarks; set targets=llava_json targets.file=… (their "
            f"'source' is a benchmark's name) or, with suite=mini, targets=embedded."
        )
    targets = opened()
    known = [benchmark.name for benchmark in suite.benchmarks]
    strange = sorted(name for name in targets.counts() if name.partition("/")[0] not in known)  # a part: MME/count
    if strange:
        raise UserError(
            f"The target examples are of '{strange[0]}', which suite={suite.name} does not measure; it has: "
            f"{', '.join(known)}. Choose other targets (targets=…) or another suite."
        )
    return targets
