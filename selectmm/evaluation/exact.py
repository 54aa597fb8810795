"""Offline matchers that stand in for a judge model; a benchmark scored by one is marked ``judge: exact``."""

import re
from collections.abc import Mapping, Sequence


def normalised(text: str) -> str:
    """The text in lower case, without punctuation and articles, with single spaces."""
    words = re.sub(r"[^\w\s.%$-]|\.(?!\d)", " ", text.lower()).split()
    return " ".join(word for word in words if word not in {"a", "an", "the"})


def matched(answer: str, target: str) -> float:
    """The share of a target's required parts that occur in ``answer`` as whole words, 0..1.

    MM-Vet's targets join parts that are all required with ``<AND>`` and alternatives with ``<OR>``. An answer earns
    the share of the parts it names, of the alternative where it names most (``<OR>`` binds weaker than ``<AND>``).
    """
    said = f" {normalised(answer)} "
    shares = []
    for alternative in target.split("<OR>"):
        parts = [normalised(part) for part in alternative.split("<AND>")]
        shares.append(sum(f" {part} " in said for part in parts if part) / len(parts))
    return max(shares)


def mmvet_process_results(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """The fields of ``mmvet/utils.py``'s, which asks a judge, scored by `matched` instead."""
    return {
        "gpt_eval_score": {
            "question_id": doc["question_id"],
            "question": doc["question"],
            "gt_answer": doc["answer"],
            "capabilities": doc["capability"],
            "pred_answer": results[0],
            "score": matched(results[0], doc["answer"]),
            "eval_model": "exact",
        }
    }
