"""What a finished stage says of its cost."""

from dataclasses import asdict
from typing import Any

from selectmm.cache.stage import Stage


def cost_of(stage: Stage) -> dict[str, Any]:
    """The stage's cost and whether it came from the cache, for the tracker."""
    return {**asdict(stage.cost), "cached": stage.cached}


def time_of(*stages: Stage) -> str:
    """Seconds that stages took when they ran, and whether all came from the cache, in words."""
    seconds = sum(stage.cost.seconds for stage in stages)
    cached = all(stage.cached for stage in stages)
    return f"({seconds:.1f} s{', from the cache' if cached else ''})"
