"""Blind and shuffled images."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.evaluation import multimodal
from selectmm.evaluation.decode import Reply
from selectmm.evaluation.images import content, derangement
from selectmm.evaluation.tasks import rendered
from selectmm.pool.pool import open_image
from tests.evaluation.material import benchmarks, items, tasks


@pytest.mark.parametrize("seed", range(20))
def test_everybody_gets_another_groups_picture_once(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = [0, 0, 0, *rng.integers(1, 5, size=9).tolist()]
    while max(map(groups.count, groups)) > len(groups) // 2:
        groups = [0, 0, 0, *rng.integers(1, 5, size=9).tolist()]
    given = derangement(groups, rng)
    assert sorted(given) == list(range(len(groups)))
    assert all(groups[item] != groups[other] for item, other in enumerate(given))


def test_the_seed_decides() -> None:
    def draw(seed: int) -> list[int]:
        return derangement(range(30), np.random.default_rng(seed))

    assert draw(1) == draw(1) != draw(2)


def test_one_picture_for_most_items_cannot_be_shuffled() -> None:
    with pytest.raises(UserError, match="3 of 5 items show the same image"):
        derangement(["a", "a", "a", "b", "c"], np.random.default_rng(0))


def shown_as(key: str, images: str) -> list[tuple[str, tuple[object, ...]]]:
    """Prompt and picture contents of every question, as a model would get them."""
    seen = []

    def answer(questions: list, _tokens: int, _stops: list[str]) -> list[Reply]:
        seen.extend((question.prompt, content(question.images())) for question in questions)
        return [Reply("")] * len(questions)

    with rendered(tasks()) as folder:
        multimodal.run([benchmarks()[key]], folder, answer, limit=None, max_new_tokens=8, images=images, seed=0)
    return seen


@pytest.mark.parametrize("key", ["sqa", "pope", "mme"])
def test_shuffled_gives_every_item_a_different_image_and_keeps_the_question(key: str) -> None:
    shown, shuffled = shown_as(key, "shown"), shown_as(key, "shuffled")
    assert [prompt for prompt, _ in shown] == [prompt for prompt, _ in shuffled]
    for (_, own), (_, given) in zip(shown, shuffled, strict=True):
        assert bool(own) == bool(given)
        assert not own or own != given
    pictures = [sum(picture == given for _, given in shuffled) for _, picture in shown]
    assert pictures == [sum(picture == own for _, own in shown) for _, picture in shown]


def test_blind_leaves_the_image_out_and_keeps_the_question() -> None:
    blind = shown_as("pope", "blind")
    assert [pictures for _, pictures in blind] == [()] * len(items()["pope"])
    assert [prompt for prompt, _ in blind] == [prompt for prompt, _ in shown_as("pope", "shown")]


def test_the_harness_does_not_make_cut_off_images_whole_for_everybody(tmp_path: Path) -> None:
    assert multimodal.HARNESS  # lmms_eval, which is imported with it, sets a switch of PIL's
    whole = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(whole, "PNG")
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:80])
    with pytest.raises(UserError, match=r"cut\.png cannot be read"):
        open_image(tmp_path, "cut.png")
