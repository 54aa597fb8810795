"""An image that a row shows after words has the states of an image that is seen alone, whatever else is computed."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.features.answers import AnswerLoss
from selectmm.features.states import ImageStates
from selectmm.features.store import FeatureStore, identity_of, images_come_first
from selectmm.models import llava
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from tests.tiny import tiny_llava

FEATURE = ImageStates(1)
SHAPE, ANSWER = "Which shape is it?", "The shape is a square."
FIRST = [("human", f"<image>\n{SHAPE}"), ("gpt", ANSWER)]
LATER = [("human", "What colour is the shape?"), ("gpt", "It is a circle."), *FIRST]
SYSTEM = [("system", "Be brief."), *FIRST]


def pool_of(folder: Path, talks: list[list[tuple[str, str]]]) -> Pool:
    rows = []
    for number, talk in enumerate(talks):
        pixels = np.random.default_rng(number).integers(0, 255, (28, 28, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append({"image": f"{number}.png", "conversations": [{"from": who, "value": said} for who, said in talk]})
    (folder / "pool.json").write_text(json.dumps(rows))
    return open_llava_json(str(folder / "pool.json"), str(folder), "stop", folder / "cache", system="turn")


@pytest.mark.parametrize("talk", [FIRST, LATER, SYSTEM], ids=["first", "later question", "system prompt"])
def test_states_do_not_depend_on_what_else_is_computed(tmp_path: Path, talk: list[tuple[str, str]]) -> None:
    pool = pool_of(tmp_path, [talk, FIRST])
    assert images_come_first(pool) == (talk is FIRST)
    vlm = llava.load(str(tiny_llava(tmp_path / "llava")), "chatml", dtype="float32", device="cpu")
    alone = FeatureStore(tmp_path / "alone", vlm, 4, 16, 512).get(pool, [FEATURE])[FEATURE]
    beside = FeatureStore(tmp_path / "beside", vlm, 4, 16, 512).get(pool, [FEATURE, AnswerLoss()])[FEATURE]
    assert np.abs(alone - beside).max() < 1e-6 * np.abs(alone).max() + 1e-8
    named = identity_of(FEATURE, pool, "model", 512)
    assert ("images" in named) == (talk is not FIRST), "what earlier versions kept is not taken up"
