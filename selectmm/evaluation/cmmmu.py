"""CMMMU with every item scored once. lmms-eval guesses while it aggregates (where an answer to a true-or-false question
says neither), so the same answers would give another value each time they are aggregated.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from lmms_eval.tasks.cmmmu import utils


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """The harness's own payload and, by the harness's own rules, whether the item is right: 0 or 1."""
    payload = utils.cmmmu_process_results(doc, results)["cmmmu_acc"]
    return {"cmmmu_acc": {**payload, "score": float(utils.eval_cmmmu([dict(payload)])["correct_num"])}}


def aggregate(results: Sequence[Mapping[str, object]]) -> float:
    """The share of right answers over all subjects."""
    return fmean(float(result["score"]) for result in results)
