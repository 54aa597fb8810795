"""The task code of a user's own benchmark (`selectmm.evaluation.own`): what an item shows, asks and counts."""

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

from lmms_eval.api.metrics import anls
from PIL import Image

from selectmm.pool.sample import Shown

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def visual(doc: Mapping[str, object]) -> list[Image.Image | str]:
    """The item's images and the files of its clips, in their order."""
    images = (image.convert("RGB") for image in doc["images"])
    return [clip or next(images) for clip in doc["clips"]] if "clips" in doc else list(images)


def question(doc: Mapping[str, object], _asked: object = None) -> str:
    """The item's question, as the row has it."""
    return str(doc["question"])


def places(doc: Mapping[str, object]) -> tuple[Shown, ...]:
    """Where the images and clips stand in the question, as the row has them; () for an item of another task."""
    if "image_at" not in doc:
        return ()
    clips = doc.get("clips") or [""] * len(doc["image_at"])
    return tuple(
        Shown("", 0, at, inline, bool(clip))
        for at, inline, clip in zip(doc["image_at"], doc["image_inline"], clips, strict=True)
    )


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, float]:
    """Exact match and token F1 as SQuAD's script has them, and ANLS as DocVQA's; each 0 to 1.

    Of a target that SQuAD's script leaves nothing of, such as option A, no article is removed.
    """
    target, answer = str(doc["answer"]), results[0]
    wanted, said = _both(target, answer)
    return {
        "exact_match": float(wanted == said),
        "f1": token_f1(target, answer),
        "anls": float(anls([target], [answer])["anls"]),
    }


def likelihood(_doc: Mapping[str, object], results: Sequence[str]) -> dict[str, float]:
    """The geometric mean of the probabilities of the answer's tokens, exp(−loss), 0 to 1: higher is better."""
    return {"likelihood": math.exp(-float(results[0]))}


def token_f1(target: str, answer: str) -> float:
    """Harmonic mean of precision and recall over words; where one of both texts has none, whether both have none."""
    wanted, said = map(str.split, _both(target, answer))
    if not wanted or not said:
        return float(wanted == said)
    shared = sum((Counter(wanted) & Counter(said)).values())
    return 2 * shared / (len(wanted) + len(said))


def _both(target: str, answer: str) -> tuple[str, str]:
    """Both in the first of three forms that leaves something of the target: an empty answer is no right one."""
    forms = (_plain, _without_punctuation, _lower)
    form = next((form for form in forms if form(target)), _lower)
    return form(target), form(answer)


def _plain(text: str) -> str:
    """SQuAD's normalize_answer (arXiv 1606.05250): lower case, without punctuation and articles, single blanks."""
    return " ".join(_ARTICLES.sub(" ", _without_punctuation(text)).split())


def _without_punctuation(text: str) -> str:
    return _lower(text.translate(_NO_PUNCTUATION))


def _lower(text: str) -> str:
    return " ".join(text.lower().split())
