"""The task code of a user's own benchmark (`selectmm.evaluation.own`): what an item shows, asks and counts."""

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

from lmms_eval.api.metrics import anls
from PIL import Image

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def visual(doc: Mapping[str, object]) -> list[Image.Image | str]:
    """The item's images and the files of its clips, in their order."""
    images = (image.convert("RGB") for image in doc["images"])
    return [clip or next(images) for clip in doc["clips"]] if "clips" in doc else list(images)


def question(doc: Mapping[str, object], _asked: object = None) -> str:
    """The item's question, as the row has it."""
    return str(doc["question"])


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, float]:
    """Exact match and token F1 as SQuAD's script has them, and ANLS as DocVQA's; each 0 to 1."""
    target, answer = str(doc["answer"]), results[0]
    return {
        "exact_match": float(_plain(target) == _plain(answer)),
        "f1": token_f1(target, answer),
        "anls": float(anls([target], [answer])["anls"]),
    }


def likelihood(_doc: Mapping[str, object], results: Sequence[str]) -> dict[str, float]:
    """exp(−loss), the geometric mean of the probabilities of the answer's tokens, 0 to 1: higher is better."""
    return {"likelihood": math.exp(-float(results[0]))}


def token_f1(target: str, answer: str) -> float:
    """Harmonic mean of precision and recall over words; where one of both texts has none, whether both have none."""
    wanted, said = _plain(target).split(), _plain(answer).split()
    if not wanted or not said:
        return float(wanted == said)
    shared = sum((Counter(wanted) & Counter(said)).values())
    return 2 * shared / (len(wanted) + len(said))


def _plain(text: str) -> str:
    """SQuAD's normalize_answer (arXiv 1606.05250): lower case, without punctuation and articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())
