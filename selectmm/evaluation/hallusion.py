"""HallusionBench without a judge model. lmms-eval asks GPT-4 whether each answer agrees with a reference text; nearly
all questions can be answered with yes or no, which its code can also read (functions that it does not use).
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

Payload = Mapping[str, object]


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """Say for each metric where the item belongs and whether it is right: an answer that says "yes" anywhere is a yes,
    any other a no (lmms-eval's ``hb_aggregation_result_intern``).
    """
    said = "1" if "yes" in results[0].lower() else "0"
    payload = {
        "category": doc["category"],
        "question_id": f"{doc['subcategory']} {doc['set_id']}",  # the set: its questions and figures count together
        "question": str(doc["question_id"]),
        "figure": str(doc["figure_id"]),
        "score": float(said == str(doc["gt_answer"])),
    }
    return {name: payload for name in ("aAcc", "fAcc", "qAcc", "hallusion_overall")}


def target(doc: Mapping[str, object]) -> str:
    """The right answer as a word."""
    return "Yes" if str(doc["gt_answer"]) == "1" else "No"


def items(results: Sequence[Payload]) -> float:
    """The metric aAcc: the share of right answers."""
    return fmean(float(result["score"]) for result in results)


def figures(results: Sequence[Payload]) -> float:
    """The metric fAcc: the share of figures on which every question is right."""
    return _together(results, lambda result: result["figure"])


def questions(results: Sequence[Payload]) -> float:
    """The metric qAcc: the share of questions that are right on every figure."""
    return _together(results, lambda result: result["question"])


def overall(results: Sequence[Payload]) -> float:
    """The mean of the three, as leaderboards print it."""
    return fmean((items(results), figures(results), questions(results)))


def _together(results: Sequence[Payload], of: Callable[[Payload], object]) -> float:
    found: dict[object, bool] = {}
    for result in results:
        key = result["category"], result["question_id"], of(result)
        found[key] = found.get(key, True) and result["score"] == 1
    return fmean(found.values())
