"""The three parts share nothing; what we say of an image is what its publisher says."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from selectmm.quickstart import facts, material, pictures
from selectmm.quickstart.formats import balanced, choice, letter, letters, openly, yes_no

PARTS = ("align", "pool", "held")


@pytest.mark.parametrize("make", [material.cars, material.engines, material.weather])
@pytest.mark.parametrize(("one", "other"), [("align", "pool"), ("align", "held"), ("pool", "held")])
def test_parts_share_no_table_row(make: Callable[[str], tuple], one: str, other: str) -> None:
    rows = [{json.dumps(row, sort_keys=True) for row in make(part)} for part in (one, other)]
    assert rows[0] and rows[1] and not rows[0] & rows[1]


def test_parts_share_no_image() -> None:
    seen = [{d.image.tobytes() for d in material.drawn(part)} for part in PARTS]
    seen = [
        pixels | {ink.tobytes() for ink, _ in material.digits(part)} for pixels, part in zip(seen, PARTS, strict=True)
    ]
    assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])


def test_text_questions_of_the_held_part_are_asked_nowhere_else() -> None:
    makers = (facts.origin, facts.cylinders, facts.season, facts.month)
    asked = {part: {f.question for m in makers for f in m(part, np.random.default_rng(0))} for part in PARTS}
    assert not asked["held"] & (asked["align"] | asked["pool"])


def test_shapes_and_colours_agree_with_every_question_of_easy_vqa() -> None:
    folder = Path(find_spec("easy_vqa").origin).parent / "data" / "test"
    found = {}
    for question, answer, image in json.loads((folder / "questions.json").read_text()):
        found.setdefault(image, []).append((question, answer))
    full = [questions for _, questions in sorted(found.items()) if len(material_of(questions)) == 2]
    assert len(full) == len(material.drawn("held"))
    for drawn, questions in zip(material.drawn("held"), full, strict=True):
        for question, answer in questions:
            if answer in ("yes", "no"):
                present = any(word in question.rstrip("?").split() for word in (drawn.shape, drawn.colour))
                negated = " not " in question or " no " in question
                assert (answer == "yes") == (present != negated), (question, answer, drawn)
            else:
                assert answer in (drawn.shape, drawn.colour)


def material_of(questions: list[tuple[str, str]]) -> dict[str, str]:
    found = {}
    for question, answer in questions:
        found.update(material._fact(question, answer))
    return found


def test_a_drawn_number_shows_its_digits_in_reading_order() -> None:
    inks = [ink for ink, _ in material.digits("held")[:3]]
    whole, alone = np.asarray(pictures.number(inks)), np.asarray(pictures.number(inks[:1]))
    assert (whole[:, :32] == alone[:, :32]).all() and (alone[:, 32:] == 255).all()


def test_the_tallest_bar_is_where_the_answer_says() -> None:
    for fact in islice(facts.highest("held", np.random.default_rng(1)), 40):
        ink = (np.asarray(fact.image).min(axis=2) < 250).sum(axis=0)  # dark pixels per column
        assert facts.PLACES[int(np.argmax([ink[:32].max(), ink[32:64].max(), ink[64:].max()]))] == fact.answer


def test_a_choice_keeps_the_answer_and_the_natural_order() -> None:
    rng = np.random.default_rng(2)
    for fact in islice(facts.digit("held", rng), 30):
        item = choice(fact, rng)
        assert len(item.options) == 4 and fact.answer in item.options and list(item.options) == sorted(item.options)
        assert letters(item).splitlines()["ABCD".index(letter(item))].endswith(fact.answer)


def test_yes_no_asks_for_the_truth_or_for_something_else() -> None:
    rng = np.random.default_rng(3)
    for fact in islice(facts.colour("held", rng), 20):
        assert yes_no(fact, rng, True).question == f"Is the shape {fact.answer}?"
        assert fact.answer not in yes_no(fact, rng, False).question


def test_balanced_gives_each_answer_its_share() -> None:
    chosen = [openly(f).answer for f in balanced(facts.shape("held", np.random.default_rng(4)), 30)]
    assert {answer: chosen.count(answer) for answer in chosen} == dict.fromkeys(material.SHAPES, 10)
