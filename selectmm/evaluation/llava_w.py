"""LLaVA-W's judge: LLaVA's review prompt, taken from the installed lmms-eval, and the reading of its reply.

The reviewer sees captions, the question, a reference answer and the model's, and gives both answers points. System
message, prompt and reading are ``llava/eval/eval_gpt_review_bench.py``'s; it asks at temperature 0.2, we at 0.
"""

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

from selectmm.evaluation.judge import NotJudged
from selectmm.evaluation.judging import JudgeRequest

SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer."
MOST = 10  # points


@cache
def rules() -> dict[str, dict[str, str]]:
    """LLaVA's ``rule.json``: the reviewer's ``prompt`` and the answers' ``role`` by category."""
    package = Path(find_spec("lmms_eval").origin).parent
    return json.loads((package / "tasks" / "llava-in-the-wild" / "rule.json").read_text())


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """The fields of lmms-eval's, which counts a review that fails as −1 point, not scored yet."""
    category = f"llava_bench_{doc['category']}"
    rule, captions = rules()[category], doc["caption"]
    context = captions if isinstance(captions, str) else "\n".join(captions)
    answers = "".join(
        f"[{rule['role']} {number}]\n{answer}\n\n[End of {rule['role']} {number}]\n\n"
        for number, answer in enumerate((doc["gpt_answer"], results[0]), 1)
    )
    content = f"[Context]\n{context}\n\n[Question]\n{doc['question']}\n\n{answers}[System]\n{rule['prompt']}\n\n"
    messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
    return {
        "gpt_eval_llava_all": {
            "question": doc["question"],
            "ans1": doc["gpt_answer"],
            "ans2": results[0],
            "context": context,
            "category": category,
            "asked": JudgeRequest(messages, 1024, read, f"{SYSTEM}\n{rule['prompt']}"),
        }
    }


def read(reply: str) -> dict[str, object]:
    """Read ``scores``: the points of the reference answer and of the model's, two numbers on the reply's first line.

    Raises:
        NotJudged: there are not two, or they are no points.
    """
    line = reply.strip().split("\n")[0].replace(",", " ")
    numbers = line.split()
    if len(numbers) != 2 or not all(re.fullmatch(r"\d+(\.\d+)?", number) for number in numbers):
        raise NotJudged(f"the first line of the judge's reply is not two scores: {line[:80]!r}")
    first, second = (float(number) for number in numbers)
    if not (0 < first <= MOST and second <= MOST):
        raise NotJudged(f"the judge's scores are not between 1 and {MOST}: {line!r}")
    return {"scores": [first, second]}


def aggregate(results: Sequence[Mapping[str, object]]) -> float:
    """The model's points in per cent of the reference answers'; not a number while nothing is judged."""
    scores = [result.get("scores", (float("nan"), float("nan"))) for result in results]
    return 100 * fmean(second for _, second in scores) / fmean(first for first, _ in scores)
