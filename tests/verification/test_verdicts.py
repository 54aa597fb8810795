"""Inside, outside and unknown, by hand."""

from dataclasses import replace

import pytest

from selectmm.evaluation.outcome import Answer
from selectmm.evaluation.suite import Score
from selectmm.verification.bands import Band, Released, released_as
from selectmm.verification.flips import largest_change
from selectmm.verification.page import cells
from selectmm.verification.verdicts import Verdict, verdicts

SEVEN = released_as("llava-1.5-7b full fine-tune")
TASKS = {
    "GQA": "gqa",
    "VizWiz": "vizwiz_vqa_val",
    "TextVQA": "textvqa_val",
    "MM-Vet": "mmvet_matched",
    "MMMU": "mmmu_val",
    "POPE-pop": "pope_pop",
    "POPE-rand": "pope_random",
    "POPE-adv": "pope_adv",
}


def judged(values: dict[str, float], limit: int | None = None, released: Released = SEVEN) -> dict[str, Verdict]:
    scores = [Score(name, value, 1.0, 1000, None, "") for name, value in values.items()]
    manifest = {name: {"task": TASKS[name], "metric": "exact_match", "scale": 100} for name in values}
    found = verdicts(scores, manifest, released, limit, lambda _: ())
    return {verdict.benchmark: verdict for verdict in found}


@pytest.mark.parametrize(
    ("value", "answer"), [(62.9, "inside"), (61.1, "inside"), (63.1, "outside"), (60.9, "outside")]
)
def test_the_same_split_has_the_stated_width(value: float, answer: str) -> None:
    found = judged({"GQA": value})["GQA"]
    assert (found.answer, found.released, found.margin) == (answer, 62.0, 1.0)


def test_the_items_error_joins_where_the_split_is_another_or_a_limit_was_set() -> None:
    assert judged({"VizWiz": 50.0})["VizWiz"].margin == pytest.approx(5 + 1.96)
    assert judged({"GQA": 62.0}, limit=1000)["GQA"].margin == pytest.approx(1 + 1.96)


def test_the_mean_of_three_kinds_of_pope_is_compared_once() -> None:
    found = judged({"POPE-pop": 86.1, "POPE-rand": 87.3, "POPE-adv": 84.2}, limit=100)
    assert list(found) == ["POPE"]
    assert found["POPE"].ours == pytest.approx(85.8667, abs=1e-4) and found["POPE"].answer == "inside"
    assert found["POPE"].margin == pytest.approx(1 + 1.96 / 3**0.5)
    short = judged({"POPE-pop": 86.1, "POPE-adv": 84.2})["POPE"]
    assert (short.answer, short.margin) == ("unknown", None)
    assert short.why == "POPE was released as the mean of POPE-rand, POPE-pop, POPE-adv; not measured: POPE-rand"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("MMMU", "no score was released by llava-1.5-7b full fine-tune"),
        ("TextVQA", "task textvqa_val is not the released one: val with the data set's OCR tokens"),
        ("MM-Vet", "released by one judge model at one time"),
    ],
)
def test_what_cannot_be_compared_is_unknown(name: str, why: str) -> None:
    found = judged({name: 46.0})[name]
    assert found.answer == "unknown" and found.why.startswith(why)
    assert cells(found)[4:] == ("unknown", "unknown")


def test_recorded_scores_may_differ_by_two_items() -> None:
    band = Band("GQA", ("GQA",), ("gqa",), "recorded", 0.0, "the same")
    recorded = replace(SEVEN, scores={"GQA": 40.0}, bands=(band,))
    found = judged({"GQA": 40.5}, released=recorded)["GQA"]
    assert (found.answer, found.margin) == ("inside", 0.5), (
        "half a standard error, which is more than two of 1,000 items"
    )
    assert judged({"GQA": 40.6}, released=recorded)["GQA"].answer == "outside"
    assert cells(found) == ("GQA", "40.5", "40.0", "+0.5", "± 0.5", "inside")


def test_a_limit_adds_the_items_error_to_a_recorded_scores_band_too() -> None:
    """60 of 1,000 items of the very same model: what was recorded is of all of them."""
    band = Band("GQA", ("GQA",), ("gqa",), "recorded", 0.0, "the same")
    recorded = replace(SEVEN, scores={"GQA": 40.0}, bands=(band,))
    found = judged({"GQA": 42.4}, limit=60, released=recorded)["GQA"]
    assert (found.answer, found.margin) == ("inside", pytest.approx(0.5 + 1.96))


def test_two_items_of_mme_are_more_than_two_shares_of_a_mean() -> None:
    """Two categories of two and four pairs, all right: an item takes half a pair's accuracy and the pair away."""
    pairs = [("small", n) for n in range(2)] + [("large", n) for n in range(4)]
    right = [Answer(f"{n}{side}", "", "Yes", "yes", 1.0, "", str(n), name) for name, n in pairs for side in "ab"]
    assert largest_change(right, "mme_total_score", 1, 12, 1) == pytest.approx(100 * 1.5 / 2)
    assert largest_change(right, "mme_total_score", 1, 12, 2) == pytest.approx(100 * 3 / 2), "one of either small pair"
    wrong = [replace(answer, score=0.0) for answer in right]
    assert largest_change(wrong, "mme_total_score", 1, 12, 2) == pytest.approx(100 * 2 / 2), "both of a small pair"
    assert largest_change(wrong, "mme_total_score", 0.5, 12, 2) == pytest.approx(50.0), "in the table's unit"
    band = Band("GQA", ("GQA",), ("gqa",), "recorded", 0.0, "the same")
    manifest = {"GQA": {"task": "gqa", "metric": "mme_total_score", "scale": 1}}
    (found,) = verdicts(
        [Score("GQA", 400.0, 1.0, 12, None, "")],
        manifest,
        replace(SEVEN, scores={"GQA": 300.0}, bands=(band,)),
        None,
        lambda _: right,
    )
    assert (found.answer, found.margin) == ("inside", pytest.approx(150.0))


def test_the_change_of_f1_and_of_a_mean() -> None:
    said = [("yes", "yes"), ("yes", "yes"), ("no", "yes"), ("yes", "no"), ("no", "no")]
    answers = [Answer(str(n), "", true, it, float(it == true)) for n, (it, true) in enumerate(said)]
    worst = 2 / 3  # 2 · 2 / (2 · 2 + 1 + 1), which becomes 0 without both right yes
    assert largest_change(answers, "pope_f1_score", 100, 5, 2) == pytest.approx(100 * worst)
    assert largest_change(answers, "exact_match", 100, 5, 2) == pytest.approx(40.0)
    assert largest_change((), "mme_total_score", 1, 5, 2) == pytest.approx(40.0), "no answers are kept"
