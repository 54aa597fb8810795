"""Clips in LLaVA: so many evenly spaced frames, each an image, in the place of the clip."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.errors import UserError
from selectmm.features.attended import AttendedStates
from selectmm.features.states import ImageStates
from selectmm.features.store import FeatureStore
from selectmm.models import llava
from selectmm.models.check_rows import look
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.video import spaced_frames
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Shown
from selectmm.pool.sharegpt import open_sharegpt
from tests.clips import write_clip
from tests.tiny import tiny_llava


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    """A LLaVA whose images have 4 tokens, with clips as 3 frames."""
    return llava.load(str(tiny_llava(tmp_path_factory.mktemp("llava"))), "chatml", device="cpu", frames=3)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A clip, an image, and a clip behind an image and in the middle of a sentence."""
    folder = tmp_path_factory.mktemp("pool")
    write_clip(folder / "v" / "1.mp4", frames=12, size=(64, 48))
    write_clip(folder / "v" / "2.mp4", frames=1, colour=(30, 30, 200))
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(folder / "v" / "1.png")
    said = [("<video>Where to?", ["v/1.mp4"], []), ("<image>What?", [], ["v/1.png"])]
    said.append(("<image> and <video>?", ["v/2.mp4"], ["v/1.png"]))
    answer = {"role": "assistant", "content": "It is a circle."}
    rows = [
        {"messages": [{"role": "user", "content": text}, answer], "videos": videos, "images": images}
        for text, videos, images in said
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return open_sharegpt(str(folder / "rows.json"), str(folder), "stop", str(folder / "cache"), "turn", "source")


def talk_of(pool: Pool, row: int) -> Conversation:
    sample = pool[row]
    return Conversation(sample.turns, tuple(pool.open_shown(one) for one in sample.images), shown=sample.images)


def test_a_clip_has_the_tensors_of_its_frames_in_its_place(tiny: VLM, pool: Pool) -> None:
    with av.open(str(pool.image_root / "v" / "1.mp4")) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    images = tuple(frames[place] for place in (0, 5, 11))  # of 12
    places = (Shown("", 0, 0, True), Shown("", 0, 0, True), Shown("", 0))
    expected = encode(tiny, [Conversation(pool[0].turns, images, shown=places)], side="right", limit=None)
    found = encode(tiny, [talk_of(pool, 0)], side="right", limit=None)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    text = tiny.processor.tokenizer.decode(found["input_ids"][0])
    assert text == (
        "<|im_start|>user\n"
        + "<image>" * 12
        + "\nWhere to?<|im_end|>\n<|im_start|>assistant\nIt is a circle.<|im_end|>"
    )
    middle = tiny.processor.tokenizer.decode(encode(tiny, [talk_of(pool, 2)], side="right", limit=None)["input_ids"][0])
    assert "user\n" + "<image>" * 4 + " and " + "<image>" * 12 + "?<|im_end|>" in middle


def test_frames_are_evenly_spaced_from_the_first_to_the_last() -> None:
    assert spaced_frames(12, 3) == [0, 5, 11]
    assert spaced_frames(9, 4) == [0, 2, 5, 8]
    assert spaced_frames(1, 3) == [0, 0, 0] and spaced_frames(5, 1) == [0]


def test_lengths_and_limits_agree_with_the_tensors(tiny: VLM, pool: Pool) -> None:
    talks = [talk_of(pool, row) for row in range(3)]
    batch = encode(tiny, talks, side="right", limit=None)
    outlines = [
        Outline(t.turns, tuple(one.size if isinstance(one, Image.Image) else one for one in t.images), shown=t.shown)
        for t in talks
    ]
    assert token_counts(tiny, outlines).tolist() == batch["attention_mask"].sum(1).tolist()
    ends = [int(tiny.is_visual(row).nonzero().max()) + 1 for row in batch["input_ids"]]
    for row, end in enumerate(ends):
        assert row not in look(pool, tiny, end).late_image and row in look(pool, tiny, end - 1).late_image


def test_means_are_over_all_frames_tokens(tiny: VLM, pool: Pool, tmp_path: Path) -> None:
    whole = AttendedStates(1, conditioning="all_image_tokens")
    values = FeatureStore(tmp_path, tiny, batch_size=2, shard=4, limit=512).get(pool, [ImageStates(1), whole])
    batch = encode(tiny, [talk_of(pool, 0)], side="right", limit=None)
    with torch.no_grad():
        states = tiny.model.model(**inputs_of(batch), output_hidden_states=True, use_cache=False).hidden_states[1][0]
    seen = tiny.is_visual(batch["input_ids"][0])
    assert int(seen.sum()) == 12, "3 frames of 4 tokens"
    for feature in (ImageStates(1), whole):
        np.testing.assert_allclose(values[feature][0], states[seen].mean(0), atol=5e-5)


def test_the_number_of_frames_is_part_of_what_a_model_is(tiny: VLM) -> None:
    path = tiny.model.config._name_or_path
    assert llava.load(path, "chatml", device="cpu", frames=2).identity != tiny.identity
    with pytest.raises(UserError, match=r"cannot be shown as 0 images; set model\.frames to 1 or more, or null"):
        llava.load(path, "chatml", device="cpu", frames=0)
