"""NaturalBench over whatever items were asked. lmms-eval 0.7.3 gives one of its four metrics a name that its code does
not know, and asserts that all 7,600 items were asked, so neither a ``limit`` nor a bootstrap can run.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean

from lmms_eval.tasks.naturalbench.utils import extract_answer

GROUP = 4  # two questions on each of two images, in this order: (question, image) = (0, 0), (0, 1), (1, 0), (1, 1)
FIRST = (0, 3)  # the places of a group whose right answer is "Yes" or "A"; the other two are "No" or "B"
QUESTIONS, IMAGES = ((0, 1), (2, 3)), ((0, 2), (1, 3))  # places that ask the same question, or show the same image
ANSWERS = {"yes_no": ("Yes", "No"), "multiple_choice": ("A", "B")}

Payload = Mapping[str, object]


def target(doc: Mapping[str, object]) -> str:
    """The right answer, which follows from the item's place in its group."""
    return ANSWERS[doc["Question_Type"]][int(doc["Index"]) % GROUP not in FIRST]


def process_results(doc: Mapping[str, object], results: Sequence[str]) -> dict[str, dict[str, object]]:
    """Say for each metric the item's group and place, and whether the harness's own parser finds the right answer."""
    group, place = divmod(int(doc["Index"]), GROUP)
    right = extract_answer(results[0], task_type=doc["Question_Type"]) == int(place in FIRST)
    payload = {"category": "", "question_id": str(group), "place": place, "right": right}
    return {f"naturalbench_{name}": payload for name in ("G_ACC", "Q_ACC", "I_ACC", "ACC")}


def groups(results: Sequence[Payload]) -> float:
    """The metric G-Acc: the share of groups in which all four answers are right.

    Of a group that a ``limit`` cuts, those that were asked count.
    """
    return fmean(all(group.values()) for group in _groups(results))


def questions(results: Sequence[Payload]) -> float:
    """The metric Q-Acc: the share of questions that are right on both images."""
    return _pairs(results, QUESTIONS)


def images(results: Sequence[Payload]) -> float:
    """The metric I-Acc: the share of images on which both questions are right."""
    return _pairs(results, IMAGES)


def items(results: Sequence[Payload]) -> float:
    """The metric Acc: the share of right answers."""
    return fmean(float(result["right"]) for result in results)


def _groups(results: Sequence[Payload]) -> list[dict[int, bool]]:
    """Per group its places and whether they are right."""
    found: dict[object, dict[int, bool]] = {}
    for result in results:
        found.setdefault(result["question_id"], {})[result["place"]] = bool(result["right"])
    return list(found.values())


def _pairs(results: Sequence[Payload], pairs: Sequence[tuple[int, int]]) -> float:
    asked = [[group[place] for place in pair if place in group] for group in _groups(results) for pair in pairs]
    return fmean(all(right) for right in asked if right)
