"""OCRBench's score, over whatever items were asked."""

from collections.abc import Mapping, Sequence
from statistics import fmean


def aggregate(results: Sequence[Mapping[str, object]]) -> float:
    """The share of right answers; on all 1,000 items lmms-eval's own figure."""
    return fmean(float(result["score"]) for result in results)
