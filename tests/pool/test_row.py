"""Texts and image places as LLaVA's preprocess_multimodal leaves them, written out by hand."""

import pytest

from selectmm.errors import UserError
from selectmm.pool.row import Row, row_of
from selectmm.pool.sample import Role, Turn


def talk(*texts: str) -> list[Turn]:
    roles: list[Role] = ["user", "assistant"]
    return [Turn(roles[place % 2], text) for place, text in enumerate(texts)]


def texts(row: Row) -> list[str]:
    return [turn.text for turn in row.turns]


@pytest.mark.parametrize(
    ("said", "kept", "place"),
    [
        (["<image>\nWhat? ", " A dog. "], ["What?", " A dog. "], 0),  # only the sentence with the image is stripped
        ([" What? \n<image>", "A dog."], ["What?", "A dog."], 0),
        (["<image><image>\nWhat?", "A dog."], ["What?", "A dog."], 0),  # one sentence shows one image
        (["  Hello\t", "Hi\n", "This <image> one ", "Ah "], ["  Hello\t", "Hi\n", "This  one", "Ah "], 2),
    ],
)
def test_only_the_sentence_with_the_image_is_stripped(said: list[str], kept: list[str], place: int) -> None:
    row = row_of(talk(*said), ["a/1.png"], None, None)
    assert (texts(row), row.images[0].turn, row.unplaced) == (kept, place, False)


def test_without_an_image_nothing_is_stripped_and_a_placeholder_is_taken_out_and_noted() -> None:
    row = row_of(talk(" What? ", "\nA dog. "), [], None, None)
    assert (texts(row), row.spoken, row.source) == ([" What? ", "\nA dog. "], False, "text")
    row = row_of(talk("In HTML, <image> is ", "wrong"), [], None, None)
    assert (texts(row), row.spoken) == (["In HTML,  is ", "wrong"], True)


def test_an_image_that_nobody_mentions_is_at_the_first_question_and_noted() -> None:
    row = row_of(talk("What? ", "A dog."), ["a/1.png"], None, 7)
    assert (texts(row), row.images[0].turn, row.unplaced, row.id) == (["What? ", "A dog."], 0, True, "7")


def test_an_answer_at_the_front_and_a_question_at_the_end_are_left_out_and_noted() -> None:
    whole = [Turn("assistant", "Hello"), *talk("What?", "A dog.", "And?")]
    row = row_of(whole, [], None, None)
    assert (texts(row), row.trimmed) == (["What?", "A dog."], True)
    assert not row_of(talk("What?", "A dog."), [], None, None).trimmed


def test_two_questions_in_a_row_are_refused() -> None:
    with pytest.raises(UserError, match=r"^does not alternate human and gpt, ending in gpt"):
        row_of([Turn("user", "One?"), *talk("Two?", "2")], [], None, None)


@pytest.mark.parametrize(
    ("image", "source"),
    [("coco/train2017/1.jpg", "coco"), ("./coco/1.jpg", "coco"), ("1.jpg", "images"), ("a/", "images")],
)
def test_a_source_is_the_first_folder(image: str, source: str) -> None:
    assert row_of(talk("<image>What?", "A dog."), [image], None, None).source == source


@pytest.mark.parametrize(
    ("source", "name", "anew"),
    [
        (0, "0", True),
        (0.0, "0.0", True),
        (False, "False", True),
        (float("nan"), "coco", True),
        (None, "coco", False),
        ("", "coco", False),
        ([], "coco", False),
        ({}, "coco", False),
        (b"", "coco", False),
        (1, "1", False),
        (True, "True", False),
        ("mine", "mine", False),
    ],
)
def test_zero_is_a_source_and_what_stands_for_none_is_not(source: object, name: str, anew: bool) -> None:
    row = row_of(talk("<image>What?", "A dog."), ["coco/1.jpg"], source, None)
    assert (row.source, row.anew) == (name, anew), "pools whose rows are read as before must keep their fingerprint"


def test_an_id_that_is_not_a_number_is_none() -> None:
    rows = [row_of(talk("What?", "A dog."), [], None, id) for id in (float("nan"), 0, None, "")]
    assert [(row.id, row.anew) for row in rows] == [(None, True), ("0", False), (None, False), ("", False)]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (["<image>One?", "1", "<image>Two?", "2"], "has 2 <image> (in turns [0, 2]) for 1 image; give as many"),
        (["What?", "<image>A dog."], "has <image> in an answer (turn 1)"),
    ],
)
def test_what_one_image_and_two_roles_cannot_say_is_refused(said: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as problem:
        row_of(talk(*said), ["a/1.png"], None, None)
    assert sentence in str(problem.value)
