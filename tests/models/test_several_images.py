"""Rows with several images: ids, masks and pixels against the published templates, written out by hand.

Sources are those of `test_parity_qwen` and `test_parity_llava`; for LLaVA, LLaVA-NeXT's preprocess_multimodal and
tokenizer_image_token, which leave several ``<image>`` of a sentence where they stand. An image has four tokens here.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.models import llava
from selectmm.models.check_rows import look
from selectmm.models.encode import Conversation, ImageCut, encode
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.pack import pack
from selectmm.models.render import render
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.row import row_of
from selectmm.pool.sample import Turn
from tests.models.golden import ids_and_labels
from tests.models.test_parity_llava import FOUR, SYSTEM, vlm_with
from tests.models.test_parity_qwen import CASES, CHAT, PADS, TILE

RED = Image.new("RGB", (56, 56), (200, 30, 30))
BLUE = Image.new("RGB", (56, 56), (30, 30, 200))
ROW = row_of(
    [
        Turn("user", "<image>\n<image>\nSame?"),
        Turn("assistant", "No."),
        Turn("user", "And <image>, or <image>?"),
        Turn("assistant", "Yes."),
    ],
    ["r", "b", "b", "r"],
    None,
    None,
)
TALK = Conversation(ROW.turns, (RED, BLUE, BLUE, RED), shown=ROW.images)


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[VLM, str, str]:
    """A family, the text in front of its first turn, and its image."""
    make, system, image = CASES[request.param]
    return make(), system, image


def test_every_image_stands_where_the_row_shows_it_and_only_answers_are_trained_on(case: tuple[VLM, str, str]) -> None:
    vlm, system, image = case
    bare = image.rstrip("\n")
    golden = f"{system}<|im_start|>user\n{image}{image}Same?<|im_end|>\n<|im_start|>assistant\n⟦No.<|im_end|>\n⟧"
    golden += f"<|im_start|>user\nAnd {bare}, or {bare}?<|im_end|>\n<|im_start|>assistant\n⟦Yes.<|im_end|>\n⟧"
    batch = encode(vlm, [TALK], side="right", limit=None)
    assert (batch["input_ids"][0].tolist(), batch["labels"][0].tolist()) == ids_and_labels(golden)
    words = [chr(token - 1000) for token in batch["input_ids"][0][batch["instruction"][0]].tolist()]
    assert "".join(words) == "Same?And , or ?"
    outline = Outline(TALK.turns, tuple(one.size for one in TALK.images), shown=TALK.shown)
    assert token_counts(vlm, [outline]).tolist() == [batch["input_ids"].shape[1]]


def test_hugging_faces_chat_template_gives_the_same_tensors(case: tuple[VLM, str, str]) -> None:
    """Of a conversation with every image at the end of its line, as content lists have it."""
    vlm, system, image = case
    placeholder = "<IMG_CONTEXT>\n" if image == TILE else "<|vision_start|><|image_pad|><|vision_end|>"
    turns = [Turn("user", "One <image>\ntwo <image>\nSame?"), Turn("assistant", "No.")]
    row = row_of([*turns, Turn("user", "<image>\nAnd?"), Turn("assistant", "x")], ["r", "b", "b"], None, None)
    shown = [{"type": "image", "image": one} for one in (RED, BLUE, BLUE)]
    text = [{"type": "text", "text": said} for said in ("One ", "two ", "Same?", "No.", "And?", "x")]
    messages = [
        {"role": "user", "content": [text[0], shown[0], text[1], shown[1], text[2]]},
        {"role": "assistant", "content": [text[3]]},
        {"role": "user", "content": [shown[2], text[4]]},
        {"role": "assistant", "content": [text[5]]},
    ]
    expected = vlm.processor.apply_chat_template(
        messages,
        chat_template=CHAT.replace("{{ system }}", system).replace("{{ image }}", placeholder),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    talk = Conversation(row.turns, (RED, BLUE, BLUE), shown=row.images)
    batch = encode(vlm, [talk], side="right", limit=None)
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    assert {"input_ids", "attention_mask", "pixel_values"} <= expected.keys() and "<|" in PADS


def test_llavas_images_stand_where_llava_next_leaves_them() -> None:
    golden = f"<s>{SYSTEM} USER: {FOUR}\n{FOUR}\nSame? ASSISTANT:⟦ No.</s>⟧"
    golden += f"USER: And {FOUR}, or {FOUR}? ASSISTANT:⟦ Yes.</s>⟧"
    batch = encode(vlm_with("vicuna"), [TALK], side="right", limit=None)
    assert (batch["input_ids"][0].tolist(), batch["labels"][0].tolist()) == ids_and_labels(golden)


def test_the_space_that_sentencepiece_needs_stands_before_text_alone() -> None:
    spaced = "<image> \n"
    template = replace(llava.VICUNA, image=spaced)
    row = row_of([Turn("user", "A <image><image>b<image>"), Turn("assistant", "x")], ["1", "2", "3"], None, None)
    text = render(template, row.turns, row.images)[0]
    assert text.endswith("USER: A <image><image> b<image>  ASSISTANT: x</s>")


def test_pixels_come_in_the_order_of_the_text_also_over_rows(case: tuple[VLM, str, str]) -> None:
    vlm, _, _ = case
    alone = [
        encode(vlm, [Conversation(TALK.turns[:2], (one,))], side="right", limit=None)["pixel_values"]
        for one in (RED, BLUE)
    ]
    both = encode(vlm, [TALK, Conversation(TALK.turns[:2], (BLUE,))], side="right", limit=None)["pixel_values"]
    assert torch.equal(both, torch.cat([alone[0], alone[1], alone[1], alone[0], alone[1]]))


def test_a_cut_through_any_of_the_images_is_refused(case: tuple[VLM, str, str]) -> None:
    vlm, _, _ = case
    whole = encode(vlm, [TALK], side="right", limit=None)["input_ids"][0]
    last = int((whole == vlm.image_token_id).nonzero().max())
    assert encode(vlm, [TALK], side="right", limit=last + 1)["input_ids"].shape[1] == last + 1
    with pytest.raises(ImageCut):
        encode(vlm, [TALK], side="right", limit=last)


@pytest.fixture(
    scope="module", params=("llava_vicuna", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl3", "llava_onevision")
)
def tiny(request: pytest.FixtureRequest, loaded: Callable[[str], VLM]) -> VLM:
    return loaded(request.param)


def test_packed_rows_compute_what_they_do_alone(tiny: VLM) -> None:
    """With the images of both rows in one sequence, every state is that of its row by itself."""
    talks = [TALK, Conversation(TALK.turns[:2], (BLUE,))]
    batch = encode(tiny, talks, side="right", limit=None)
    packed = pack(tiny, batch)
    inputs = {name: value for name, value in packed.items() if name not in ("labels", "instruction")}
    together = tiny.model.model(**inputs, use_cache=False).last_hidden_state[0]
    start = 0
    for talk in talks:
        alone = encode(tiny, [talk], side="right", limit=None)
        own = {name: value for name, value in alone.items() if name not in ("labels", "instruction")}
        expected = tiny.model.model(**own, use_cache=False).last_hidden_state[0]
        torch.testing.assert_close(together[start : start + len(expected)], expected, atol=2e-5, rtol=1e-4)
        start += len(expected)


def test_the_last_image_behind_the_limit_is_found_without_encoding(tiny: VLM, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, image in (("r", RED), ("b", BLUE)):
        image.save(tmp_path / "a" / f"{name}.png")
    said = ["<image>\n<image>\nSame?", "No.", "And <image>, or <image>?", "Yes."]
    turns = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(said)]
    rows = [{"image": [f"a/{n}.png" for n in "rbbr"], "conversations": turns}]
    rows.append({"image": "a/r.png", "conversations": [{"from": "human", "value": "<image>?"}, turns[1]]})
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    pool = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path), "stop", tmp_path / "cache")
    whole = encode(tiny, [TALK], side="right", limit=None)["input_ids"][0]
    last = int((whole == tiny.image_token_id).nonzero().max())
    assert look(pool, tiny, last + 1).late_image == []
    assert look(pool, tiny, last).late_image == [0]
    assert np.diff(pool.shown[0]).tolist() == [4, 1]
