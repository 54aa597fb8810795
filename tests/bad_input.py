"""How many examples the property tests on bad input try; `experiments/studies/bad_inputs.py` asks for more of them."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("SELECTMM_EXAMPLES", "1"))


def examples(count: int) -> settings:
    """``count`` examples, or as many times more as the environment variable ``SELECTMM_EXAMPLES`` says."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    return settings(max_examples=count * TIMES, suppress_health_check=checks)
