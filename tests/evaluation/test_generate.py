"""Answers do not depend on how questions are batched."""

import numpy as np
import pytest
from PIL import Image

from selectmm.evaluation.generate import Question, generate
from selectmm.models.vlm import VLM
from tests.families import FAMILIES


@pytest.fixture(params=FAMILIES, scope="module")
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return FAMILIES[request.param].load(tmp_path_factory.mktemp(request.param))


def questions(count: int) -> list[Question]:
    """Prompts of many lengths; images of many sizes, every third question without one."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        words = " ".join(rng.choice(["red", "circle", "sum", "9", "What"], size=rng.integers(1, 30)))
        width, height = rng.integers(30, 90, size=2)
        picture = Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8))
        shown = () if number % 3 == 2 else (picture,)
        found.append(Question(f"{words}?", lambda shown=shown: shown))
    return found


def test_the_same_answers_at_batch_1_and_batch_16_in_any_order(vlm: VLM) -> None:
    asked = questions(20)
    one = generate(vlm, asked, 8, [], batch_size=1, what="one by one")
    many = generate(vlm, asked, 8, [], batch_size=16, what="together")
    backwards = generate(vlm, asked[::-1], 8, [], batch_size=7, what="backwards")
    assert one == many == backwards[::-1]
    assert len(set(one)) > 3  # and not always the same


def test_an_image_changes_the_answer(vlm: VLM) -> None:
    asked = [question for question in questions(12) if question.images()]
    blind = [Question(question.prompt, tuple) for question in asked]
    shown = generate(vlm, asked, 8, [], batch_size=4, what="shown")
    assert shown != generate(vlm, blind, 8, [], batch_size=4, what="blind")


def test_an_answer_ends_at_a_stop_and_at_the_cap(vlm: VLM) -> None:
    asked = questions(3)
    free = generate(vlm, asked, 8, [], batch_size=4, what="free")
    stop = free[0][2]
    assert generate(vlm, asked, 8, [stop], batch_size=4, what="stopped") == [text.split(stop)[0] for text in free]
    shorter = generate(vlm, asked, 2, [], batch_size=4, what="short")
    assert all(long.startswith(short) for long, short in zip(free, shorter, strict=True))
