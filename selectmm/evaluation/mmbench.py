"""MMBench in Chinese, scored offline: the chosen letter is read out of a Chinese answer by rules."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

import selectmm.models  # noqa: F401  (lets torchvision import)

from lmms_eval.tasks.mmbench import cn_utils  # isort: skip

LETTERS = "ABCD"
_SAID = re.compile(r"(?:答案|选项|选择|应选|故选|应该是|选)\s*(?:应该|应|是|为|:)*\s*[(\[「]?\s*([A-D])(?![A-Za-z])")
_FIRST = re.compile(r"[(\[]?\s*([A-D])(?!\s*[A-Za-z])")  # not the article of "A dog"
_ALONE = re.compile(r"(?<![A-Za-z])([A-D])(?!\s*[A-Za-z])")


def letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The option that an answer chooses, or None where the rules find none.

    Full-width letters and punctuation count as plain ones. In this order: what follows 答案是, 选 and the like (the
    last such place), a letter that begins the answer, the only letter that stands alone, the only option whose text
    the answer holds.

    Args:
        options: the options' texts by letter.
    """
    said = unicodedata.normalize("NFKC", answer).strip()
    if found := _SAID.findall(said):
        return found[-1]
    if found := _FIRST.match(said):
        return found[1]
    if len(found := set(_ALONE.findall(said))) == 1:
        return found.pop()
    held = [name for name, text in options.items() if unicodedata.normalize("NFKC", text).strip() in said]
    return held[0] if len(held) == 1 else None


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """The harness's own fields, the answer replaced by its letter where `letter` finds one."""
    payload = cn_utils.mmbench_process_results(doc, results)["gpt_eval_score"]
    options = {name: str(doc[name]) for name in LETTERS if doc.get(name) not in (None, "", "nan")}
    return {"gpt_eval_score": {**payload, "prediction": letter(results[0], options) or payload["prediction"]}}


def aggregate(results: Sequence[Mapping[str, object]]) -> float:
    """The percentage of questions with all rotations right, by the harness's static rules: no judge is asked."""
    overall, _, _ = cn_utils.mmbench_evaluator.eval_result(list(results), eval_method="static")
    return overall * 100
