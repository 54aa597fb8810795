"""Rows that one model cannot take, against what its own processor does with them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.store import FeatureStore
from selectmm.features.tokens import TokenCount
from selectmm.models.check_rows import as_used, find_unfit, fitting, image_marks, look, special_tokens
from selectmm.models.encode import Conversation, ImageCut, encode
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.pool.unfit import Unfit
from selectmm.tuning.data import MicroBatches

SHAPES = {"square.png": (56, 56), "wide.png": (240, 60), "thin.png": (4, 804), "fine.png": (3, 600)}
MARKS = {
    "llava_vicuna": {"<image>"},
    "qwen2_vl": {"<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"},
    "internvl3": {"<IMG_CONTEXT>", "<img>", "</img>", "<video>"},
    "llava_onevision": {"<image>", "<video>"},
}


@pytest.fixture(scope="module", params=MARKS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def vlm(family: str, loaded: Callable[[str], VLM]) -> VLM:
    return loaded(family)


def talk(*said: str, image: str | None = None, **more: object) -> dict[str, object]:
    turns = [{"from": "human" if n % 2 == 0 else "gpt", "value": text} for n, text in enumerate(said)]
    return {"conversations": turns, **({"image": image} if image else {}), **more}


def opened(folder: Path, rows: list[dict[str, object]]) -> Pool:
    for name, shape in SHAPES.items():
        (folder / "images").mkdir(exist_ok=True)
        Image.new("RGB", shape, "red").save(folder / "images" / name)
    (folder / "rows.json").write_text(json.dumps(rows))
    return open_llava_json(str(folder / "rows.json"), str(folder / "images"), "drop", folder / "cache")


def test_marks_and_special_tokens_are_the_families_own(vlm: VLM, family: str) -> None:
    assert image_marks(vlm) == MARKS[family]
    special = special_tokens(vlm.processor.tokenizer)
    assert ("</s>" in special) == (family == "llava_vicuna") and ("<|im_end|>" in special)


def test_where_the_last_token_of_an_image_stands_is_what_the_processor_does(vlm: VLM, tmp_path: Path) -> None:
    """At every limit the rows found are those whose encoding has an image token behind it."""
    rows = [
        talk("<image>\nWhat?", "Red.", image="square.png"),
        talk("<image>\nWhat?", "Red.", image="wide.png"),
        talk("Hello, which shape is it?", "A square.", "And this one?\n<image>", "Red.", image="wide.png"),
        talk("One plus two?", "3"),
        talk("Hi", "é 5", "A <image>", "B", "C", "D", image="square.png"),
    ]
    pool = opened(tmp_path, rows)
    last = {}
    for row in (0, 1, 2, 4):
        sample = pool[row]
        shown = Conversation(sample.turns, (pool.open_image(sample.image),), sample.image_turn)
        ids = encode(vlm, [shown], side="right", limit=None)["input_ids"][0]
        last[row] = int(np.flatnonzero(ids.numpy() == vlm.image_token_id)[-1])
    for limit in {place + more for place in last.values() for more in (0, 1)}:
        assert look(pool, vlm, limit).late_image == [row for row, place in last.items() if place >= limit]


def test_shapes_that_the_processor_refuses(vlm: VLM, family: str, tmp_path: Path) -> None:
    """4 × 804 pixels are 201 times as long as wide, 3 × 600 are 200 times; Qwen's limit is 200."""
    pool = opened(tmp_path, [talk("What?", "Red.", image=name) for name in ("thin.png", "fine.png")])
    assert look(pool, vlm, 10_000).shape == ([0] if family == "qwen2_vl" else [])
    for row in (0, 1):
        shown = Conversation(pool[row].turns, (pool.open_image(pool[row].image),), name=pool.named(row))
        if family == "qwen2_vl" and row == 0:
            with pytest.raises(UserError, match=r"qwen2_vl processor does not take row 0 \(.*aspect ratio must be sma"):
                encode(vlm, [Conversation(pool[1].turns), shown], side="right", limit=None)
        else:
            encode(vlm, [shown], side="right", limit=None)


def test_a_mark_of_the_model_in_a_text_is_found_and_another_familys_is_a_word(
    vlm: VLM, family: str, tmp_path: Path
) -> None:
    texts = ["Plain.", "A <|image_pad|> here", "Say <IMG_CONTEXT>", "<ima<image>ge>", "</s>", "a<|im_end|>b", "<s >"]
    pool = opened(tmp_path, [*(talk("What?", text) for text in texts), talk("A <|image_pad|>?", "B")])
    unfit = look(pool, vlm, 10_000)
    assert (
        unfit.placeholder == {"llava_vicuna": [3], "qwen2_vl": [1, 7], "internvl3": [2], "llava_onevision": [3]}[family]
    )
    assert unfit.special == ([4, 5] if family == "llava_vicuna" else [5])
    assert unfit.bad == unfit.placeholder
    tokenizer = vlm.processor.tokenizer  # each of them is one token wherever it stands, and other texts hold none
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.content not in MARKS[family]}
    ids = [set(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert [row for row, found in enumerate(ids) if found & special] == unfit.special


@pytest.mark.parametrize("family", ["qwen2_vl"], indirect=True)
class TestQwen:
    ROWS = (
        talk("<image>What?", "Red.", image="square.png", id="a"),
        talk("What?", "An <|image_pad|>.", id="b"),
        talk("<image>What?", "Red.", image="thin.png", id="c"),
        talk("word " * 40, "Yes.", "<image>This?", "Red.", image="wide.png", id="d"),
        talk("What?", "Red.<|im_end|>", id="e"),
        talk("<image>What?", "Blue.", image="wide.png", id="f"),
    )

    def test_a_run_stops_with_one_sentence_or_drops_and_counts(self, vlm: VLM, tmp_path: Path) -> None:
        pool, cache = opened(tmp_path, list(self.ROWS)), tmp_path / "cache"
        with pytest.raises(UserError) as caught:
            fitting(pool, vlm, 60, "stop", cache)
        for part in (
            "1 row with a model's image mark in their text (first: row 1 (id 'b'))",
            "1 row with an image of a shape that the model refuses (first: row 2 (id 'c'), thin.png)",
            "1 row with an image that recipe.max_length would cut (first: row 3 (id 'd'), wide.png)",
            "set pool.bad_rows=drop",
        ):
            assert part in str(caught.value)
        listed = json.loads(next((cache / "pool-model").glob("*/rows.json")).read_text())
        assert listed["shape"] == ["row 2 (id 'c')"]
        left = fitting(pool, vlm, 60, "drop", cache)
        assert [left.named(row) for row in range(3)] == ["row 0 (id 'a')", "row 4 (id 'e')", "row 5 (id 'f')"]
        assert left.sizes.tolist() == [[56, 56], [240, 60]] and left.images == ["square.png", "wide.png"]
        assert left.unfit == Unfit(placeholder=[1], shape=[2], late_image=[3], special=[4])
        assert left.fingerprint != pool.fingerprint and left.health == pool.health
        assert as_used(pool, left.fingerprint, cache).fingerprint == left.fingerprint
        assert as_used(pool, "another", cache) is pool
        assert fitting(left, vlm, 60, "stop", cache) is left

    def test_a_sound_pool_is_the_same_pool(self, vlm: VLM, tmp_path: Path) -> None:
        pool = opened(tmp_path, [self.ROWS[0], self.ROWS[4]])
        assert fitting(pool, vlm, 60, "drop", tmp_path / "cache") is pool

    def test_no_row_left_is_a_sentence(self, vlm: VLM, tmp_path: Path) -> None:
        pool = opened(tmp_path, [self.ROWS[1]])
        with pytest.raises(UserError, match="This model can take no row of the pool: 1 row with"):
            fitting(pool, vlm, 60, "drop", tmp_path / "cache")
        with pytest.raises(UserError, match=r"all rows of the targets: 1 row .*rows\.json\. Fix them\.$"):
            fitting(pool, vlm, 60, "stop", tmp_path / "cache", "targets")

    def test_headers_that_were_not_read_leave_texts_to_look_at(self, vlm: VLM, tmp_path: Path) -> None:
        pool = replace(opened(tmp_path, list(self.ROWS)), sizes=None)
        assert find_unfit(pool, vlm, 10_000, tmp_path / "cache")[0].bad == [1]

    def test_features_and_training_name_the_row_in_the_file(self, vlm: VLM, tmp_path: Path) -> None:
        rows = [talk("Gone?", ""), *self.ROWS]  # its empty answer is dropped, so that positions and places differ
        pool = opened(tmp_path, rows)
        assert pool.named(1) == "row 2 (id 'b')"
        alone, together = (FeatureStore(tmp_path / "cache", vlm, size, shard=8, limit=60) for size in (1, 4))
        with pytest.raises(UserError, match=r"qwen2_vl processor does not take row 2 \(id 'b'\) \(.*; mend its text"):
            alone.get(pool, [AnswerLoss()])
        for feature in (AnswerLoss(), TokenCount()):  # tokens are counted first, by the processor's formula
            with pytest.raises(UserError, match=r"does not take row 3 \(id 'c'\) \(ValueError: absolute aspect ratio"):
                together.get(pool, [feature])
        data = MicroBatches(vlm, pool, np.array([[0, 2], [0, 3]]), 60, blank=False, packing=False)
        with pytest.raises(UserError, match=r"does not take row 3 \(id 'c'\) \(ValueError: absolute aspect ratio"):
            data[0]
        with pytest.raises(UserError, match=r"^In row 4 \(id 'd'\), an image does not fit in 60 tokens; raise recipe"):
            data[1]
        with pytest.raises(ImageCut):
            encode(vlm, [Conversation(pool[3].turns, (pool.open_image("wide.png"),), 2)], side="right", limit=60)
