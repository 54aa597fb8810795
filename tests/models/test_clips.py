"""Clips in the Qwen families: frames, ids and pixels are those of transformers' own reading and processors.

What does not depend on how frames are chosen is tested of LLaVA-OneVision too; the rest is in `test_llava_onevision`.
"""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.attended import AttendedStates
from selectmm.features.states import ImageStates
from selectmm.features.store import FeatureStore
from selectmm.models.check_rows import fitting, look
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.lengths import Outline, token_counts
from selectmm.models.pack import pack
from selectmm.models.vlm import VLM
from selectmm.pool.doctor_model import model_findings
from selectmm.pool.pool import Pool
from selectmm.pool.sharegpt import open_sharegpt
from tests.clips import write_clip
from tests.families import FAMILIES

from transformers.image_utils import SizeDict  # isort: skip
from transformers.video_utils import load_video  # isort: skip


QWEN = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@pytest.fixture(scope="module", params=[*QWEN, "llava_onevision"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    vlm = FAMILIES[request.param].load(tmp_path_factory.mktemp(request.param))
    if request.param in QWEN:
        side = vlm.processor.video_processor.patch_size * 2
        vlm.processor.video_processor.size = SizeDict(shortest_edge=4 * side * side, longest_edge=64 * side * side)
    return vlm


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A clip, an image, and a clip behind an image."""
    folder = tmp_path_factory.mktemp("pool")
    write_clip(folder / "v" / "1.mp4", frames=12, fps=4)
    write_clip(folder / "v" / "2.mp4", frames=1, colour=(30, 30, 200))
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(folder / "v" / "1.png")
    said = [("<video>Where to?", {"video": "v/1.mp4"}), ("<image>What?", {"images": ["v/1.png"]})]
    said.append(("<image> and <video>?", {"images": ["v/1.png"], "videos": ["v/2.mp4"]}))
    answer = {"role": "assistant", "content": "It is a circle."}
    rows = [{"messages": [{"role": "user", "content": text}, answer], **more} for text, more in said]
    (folder / "rows.json").write_text(json.dumps(rows))
    return open_sharegpt(str(folder / "rows.json"), str(folder), "stop", str(folder / "cache"), "turn", "source")


def talk_of(pool: Pool, row: int) -> Conversation:
    sample = pool[row]
    return Conversation(sample.turns, tuple(pool.open_shown(one) for one in sample.images), shown=sample.images)


@pytest.mark.parametrize("tiny", QWEN, indirect=True)
def test_tensors_are_those_of_transformers_own_reading(tiny: VLM, pool: Pool) -> None:
    processor = tiny.processor.video_processor
    video, metadata = load_video(
        str(pool.image_root / "v" / "1.mp4"),
        backend="pyav",
        sample_indices_fn=partial(processor.sample_frames, fps=2.0),
    )
    assert metadata.frames_indices[0] == 0 and len(metadata.frames_indices) == 6, "3 seconds, 2 frames each"
    start = tiny.family.template.start
    text = f"{start}<|im_start|>user\n<|vision_start|><|video_pad|><|vision_end|>Where to?<|im_end|>\n"
    text += "<|im_start|>assistant\nIt is a circle.<|im_end|>\n"
    expected = tiny.processor(
        text=[text], videos=[video], video_metadata=[metadata], do_sample_frames=False, return_tensors="pt"
    )
    batch = encode(tiny, [talk_of(pool, 0)], side="right", limit=None)
    for name in ("input_ids", "attention_mask", "pixel_values_videos", "video_grid_thw", "mm_token_type_ids"):
        assert torch.equal(batch[name], expected[name]), name
    answer = tiny.processor.tokenizer.decode(batch["labels"][0][batch["labels"][0] >= 0])
    assert answer == "It is a circle.<|im_end|>\n"
    words = tiny.processor.tokenizer.decode(batch["input_ids"][0][batch["instruction"][0]])
    assert words == "Where to?"


def test_lengths_packs_and_limits_agree_with_the_tensors(tiny: VLM, pool: Pool) -> None:
    talks = [talk_of(pool, row) for row in range(3)]
    batch = encode(tiny, talks, side="right", limit=None)
    outlines = [
        Outline(t.turns, tuple(one.size if isinstance(one, Image.Image) else one for one in t.images), shown=t.shown)
        for t in talks
    ]
    assert token_counts(tiny, outlines).tolist() == batch["attention_mask"].sum(1).tolist()
    with torch.no_grad():
        together = tiny.model.model(**inputs_of(pack(tiny, batch)), use_cache=False).last_hidden_state[0]
        start = 0
        for talk in talks:
            alone = encode(tiny, [talk], side="right", limit=None)
            expected = tiny.model.model(**inputs_of(alone), use_cache=False).last_hidden_state[0]
            torch.testing.assert_close(together[start : start + len(expected)], expected, atol=5e-5, rtol=1e-4)
            start += len(expected)
    ends = [int(tiny.is_visual(row).nonzero().max()) + 1 for row in batch["input_ids"]]
    assert look(pool, tiny, max(ends) + 2).bad == [], "Qwen3-VL's last mark of a frame is counted too"
    assert int(np.argmax(ends)) in look(pool, tiny, max(ends) - 1).late_image


@pytest.mark.parametrize("tiny", QWEN, indirect=True)
def test_a_clip_that_the_processor_refuses_is_named_before_anything_is_encoded(tiny: VLM, pool: Pool) -> None:
    shown = pool[0].images
    narrow = replace(pool.open_shown(shown[0]), width=4000, height=8)
    with pytest.raises(UserError, match=r"processor does not take row 0 \(.*ratio"):
        token_counts(tiny, [Outline(pool[0].turns, (narrow,), name="row 0", shown=shown)])


def test_image_states_and_attention_pool_over_frames_tokens(tiny: VLM, pool: Pool, tmp_path: Path) -> None:
    whole = AttendedStates(1, conditioning="all_image_tokens")
    values = FeatureStore(tmp_path, tiny, batch_size=2, shard=4, limit=512).get(
        pool, [ImageStates(1), whole, AnswerLoss()]
    )
    for row, image in ((0, 0), (1, 1)):
        batch = encode(tiny, [talk_of(pool, row)], side="right", limit=None)
        with torch.no_grad():
            states = tiny.model.model(**inputs_of(batch), output_hidden_states=True, use_cache=False).hidden_states[1][
                0
            ]
        mean = states[tiny.is_visual(batch["input_ids"][0])].mean(0)
        np.testing.assert_allclose(values[ImageStates(1)][image], mean, atol=5e-5)
        np.testing.assert_allclose(values[whole][row], mean, atol=5e-5)
    assert np.isfinite(values[AnswerLoss()]).all() and len(values[ImageStates(1)]) == 3


def test_a_family_without_clips_says_who_takes_them(pool: Pool, tmp_path: Path) -> None:
    vlm = FAMILIES["llava_vicuna"].load(tmp_path / "llava")
    unfit = look(pool, vlm, 512)
    assert (unfit.clips, unfit.turns, unfit.bad) == ([0, 2], [], [0, 2])
    taken = "by the Qwen families, LLaVA-OneVision, LLaVA with model.frames, and model=embedded_clips in place of the "
    with pytest.raises(
        UserError, match=rf"2 rows with a clip that this model does not take \(.*Clips are taken {taken}"
    ):
        fitting(pool, vlm, 512, "stop", tmp_path / "cache")
    (finding,) = model_findings(pool, unfit, [], "stop")
    assert (finding.name, finding.count, finding.weight) == ("clip that this model does not take", 2, "blocks")
    assert finding.advice == (
        "Choose a model that takes clips (the Qwen families, LLaVA-OneVision, LLaVA with model.frames, and "
        "model=embedded_clips in place of the built-in model=embedded), or set pool.bad_rows=drop to leave these rows "
        "out."
    )
