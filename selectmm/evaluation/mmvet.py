"""MM-Vet's judge: its released few-shot prompt, taken from the installed lmms-eval, and the reading of its reply."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import fmean
from unittest.mock import patch

from selectmm.evaluation.judge import NotJudged
from selectmm.evaluation.judging import JudgeRequest


@cache
def template() -> str:
    """The prompt of MM-Vet's authors (their online evaluator's), as lmms-eval 0.7.3 carries it."""
    with patch.dict(os.environ, {"API_TYPE": "dummy"}):  # the file connects to a judge when it is imported
        from lmms_eval.tasks.mmvet.utils import MM_VET_PROMPT
    return MM_VET_PROMPT


def process_results(doc: Mapping[str, str], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """The fields of ``mmvet/utils.py``'s, which counts a judge that fails as zero, not scored yet."""
    target = doc["answer"].replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
    question = f"{template()}\n{doc['question']} | {target} | {results[0]} |"
    return {
        "gpt_eval_score": {
            "question_id": doc["question_id"],
            "question": doc["question"],
            "gt_answer": doc["answer"],
            "capabilities": doc["capability"],
            "pred_answer": results[0],
            "asked": JudgeRequest([{"role": "user", "content": question}], 128, read, template()),
        }
    }


def read(reply: str) -> dict[str, object]:
    """Read ``score``, in 0..1: the reply's first word.

    Raises:
        NotJudged: it is no number in 0..1.
    """
    try:
        score = float(reply.split()[0])
    except ValueError:
        score = float("nan")
    if not 0 <= score <= 1:
        raise NotJudged(f"the judge's reply does not begin with a score between 0 and 1: {reply[:80]!r}")
    return {"score": score}


def aggregate(results: Sequence[Mapping[str, object]]) -> float:
    """The mean score in per cent; not a number while nothing is judged: the harness adds up before a judge is asked."""
    return 100 * fmean(result.get("score", float("nan")) for result in results)
