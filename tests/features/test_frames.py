"""Clips by their frames, against sums over Hugging Face's states written out here, for each way a clip is encoded."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from selectmm.features.attended import AttendedStates, attention_from, most_attended
from selectmm.features.feature import Feature, Features
from selectmm.features.frames import AttendedFrames, FrameStates, Single
from selectmm.features.states import ImageStates, Pooling
from selectmm.features.store import FeatureStore
from selectmm.methods.prism import Prism
from selectmm.methods.scalselect import ScalSelect
from selectmm.models import llava, llava_onevision
from selectmm.models.encode import Conversation, encode
from selectmm.models.forward import Reads, run
from selectmm.models.inputs import inputs_of
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.pool.sharegpt import open_sharegpt
from tests.clips import write_clip
from tests.families import FAMILIES, tiny_llava_onevision
from tests.tiny import tiny_llava

from transformers.image_utils import SizeDict  # isort: skip

FRAMES: tuple[Single, ...] = ("each", "middle")
ROWS = {  # clips, images and what is said
    "clip": (["1.mp4"], [], "<video>Where to?"),
    "text": ([], [], "Why?"),
    "image": ([], ["1.png"], "<image>What?"),
    "both": (["2.mp4"], ["2.png"], "<image> and <video>?"),
    "two images": ([], ["1.png", "2.png"], "<image><image>Which?"),
}


@pytest.fixture(scope="module", params=["llava", "llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    """The LLaVAs show three frames of 4 tokens each; the others show steps of two frames, by their processor."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "llava":
        return llava.load(str(tiny_llava(folder)), "chatml", device="cpu", frames=3)
    if request.param == "llava_onevision":
        return llava_onevision.load(str(tiny_llava_onevision(folder, 56)), device="cpu", frames=3)
    vlm = FAMILIES[request.param].load(folder)
    side = vlm.processor.video_processor.patch_size * 2
    vlm.processor.video_processor.size = SizeDict(shortest_edge=4 * side * side, longest_edge=64 * side * side)
    return vlm


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("pool")
    write_clip(folder / "1.mp4", frames=12, fps=4)
    write_clip(folder / "2.mp4", frames=20, fps=4, colour=(30, 30, 200), size=(64, 96))
    for number, size in ((1, (64, 64)), (2, (96, 64))):
        Image.linear_gradient("L").resize(size).rotate(90 * number).convert("RGB").save(folder / f"{number}.png")
    answer = {"role": "assistant", "content": "It is a circle."}
    rows = [
        {"messages": [{"role": "user", "content": said}, answer], "videos": clips, "images": images}
        for clips, images, said in ROWS.values()
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return open_sharegpt(str(folder / "rows.json"), str(folder), "stop", str(folder / "cache"), "turn", "source")


def frames_by_hand(tiny: VLM, pool: Pool, talk: Conversation) -> tuple[torch.Tensor, list[list[list[int]]]]:
    """States [tokens, width] after layer 1 by Hugging Face, and by image or clip the places of each frame's tokens.

    The counts come from the families' documentation: LLaVA has three frames of 4 tokens; LLaVA-OneVision too, and a
    newline token behind them; Qwen's grids say steps, and rows and columns of patches, four of which are a token.
    """
    batch = encode(tiny, [talk], side="right", limit=None)
    with torch.no_grad():
        hidden = tiny.model.model(**inputs_of(batch), output_hidden_states=True, use_cache=False).hidden_states
    grids = {
        clip: batch[name].tolist() if name in batch else []
        for clip, name in ((False, "image_grid_thw"), (True, "video_grid_thw"))
    }
    places, found = tiny.is_visual(batch["input_ids"][0]).nonzero().flatten().tolist(), []
    of_images = int((batch["input_ids"][0] == tiny.image_token_id).sum())
    onevision = tiny.family.name == "llava_onevision"
    for one in talk.images:
        clip = not isinstance(one, Image.Image)
        steps, size = (3 if clip else 1), 4
        if onevision and not clip:
            size = of_images  # tiles; no row here has another image beside a clip
        elif tiny.family.frames is None and not onevision:
            steps, high, wide = grids[clip].pop(0)
            size = high * wide // 4
        found.append([places[size * step : size * (step + 1)] for step in range(steps)])
        places = places[size * steps + (1 if onevision and clip else 0) :]
    assert not places, "every token belongs to a frame"
    return hidden[1][0], found


def talk_of(pool: Pool, row: int) -> Conversation:
    sample = pool[row]
    return Conversation(sample.turns, tuple(pool.open_shown(one) for one in sample.images), shown=sample.images)


def values_of(tiny: VLM, pool: Pool, folder: Path, *features: Feature) -> dict[Feature, np.ndarray]:
    return FeatureStore(folder, tiny, batch_size=2, shard=4, limit=512).get(pool, features)


# Every model, and every option on one that ends a clip with a newline and on one that does not.
MODELS = ["llava", "llava_onevision", "llava_onevision", "qwen2_5_vl", "qwen3_vl"]


def on_models(option: str, usual: str, other: str) -> pytest.MarkDecorator:
    values = [usual, usual, other, other, usual]
    return pytest.mark.parametrize(("tiny", option), zip(MODELS, values, strict=True), indirect=["tiny"])


@on_models("pooling", "mean", "last_token")
def test_a_clip_is_the_mean_over_its_frames_or_the_middle_one(
    tiny: VLM, pool: Pool, tmp_path: Path, pooling: Pooling
) -> None:
    each, middle = (FrameStates(1, frames, pooling) for frames in FRAMES)
    together = ImageStates(1, pooling)
    values = values_of(tiny, pool, tmp_path, each, middle, together)
    steps = {}
    for image, path in enumerate(pool.images):
        shown = next(one for row in range(len(pool)) for one in pool[row].images if one.path == path)
        shown = shown._replace(turn=0, at=0)
        talk = Conversation((Turn("user", ""),), (pool.open_shown(shown),), shown=(shown,))
        states, [frames] = frames_by_hand(tiny, pool, talk)
        pooled = [states[own].mean(0) if pooling == "mean" else states[own[-1]] for own in frames]
        np.testing.assert_allclose(values[each][image], torch.stack(pooled).mean(0), atol=5e-5)
        np.testing.assert_allclose(values[middle][image], pooled[len(frames) // 2], atol=5e-5)
        steps[path] = len(frames)
    assert steps["1.png"] == 1 and steps["1.mp4"] == 3 and steps["2.mp4"] == (5 if "qwen" in tiny.family.name else 3)
    clips = np.flatnonzero(pool.clips)
    newlines = tiny.family.name == "llava_onevision"
    same = pooling == "mean" and not newlines  # see the docstring
    assert np.allclose(values[each], values[together], atol=5e-5) == same
    assert (np.abs(values[middle] - values[together])[clips].max(1) > 1e-4).all(), "or this test would prove nothing"
    assert np.allclose(values[middle][~pool.clips], values[together][~pool.clips], atol=5e-5)


@on_models("conditioning", "attended", "all_image_tokens")
def test_attention_chooses_inside_each_frame_or_the_middle_one(
    tiny: VLM, pool: Pool, tmp_path: Path, conditioning: Literal["attended", "all_image_tokens"]
) -> None:
    of = AttendedStates(1, 0.4, conditioning=conditioning)
    each, middle = (AttendedFrames(frames, 1, 0.4, conditioning=conditioning) for frames in FRAMES)
    values = values_of(tiny, pool, tmp_path, each, middle, of)
    for row, name in enumerate(ROWS):
        if name not in ("clip", "both"):
            np.testing.assert_allclose(values[each][row], values[of][row], atol=5e-5)
            np.testing.assert_allclose(values[middle][row], values[of][row], atol=5e-5)
            continue
        talk = talk_of(pool, row)
        states, shown = frames_by_hand(tiny, pool, talk)
        batch = encode(tiny, [talk], side="right", limit=None)
        with torch.no_grad():
            heads = run(tiny, batch, Reads(attention=frozenset({1}))).heads[1]
        asked = attention_from(heads, 0, batch["instruction"][0].nonzero().flatten())

        def attended(places: list[int], asked: torch.Tensor = asked, states: torch.Tensor = states) -> torch.Tensor:
            kept = most_attended(asked[places], 0.4).tolist() if conditioning == "attended" else range(len(places))
            return torch.stack([states[places[place]] for place in kept]).mean(0)

        expected = torch.stack([attended(places) for one in shown for places in one]).mean(0)
        np.testing.assert_allclose(values[each][row], expected, atol=5e-5)
        expected = attended([place for one in shown for place in one[len(one) // 2]])
        np.testing.assert_allclose(values[middle][row], expected, atol=5e-5)
        assert np.abs(values[middle][row] - values[of][row]).max() > 1e-4, "or this test would prove nothing"
    if conditioning == "attended":
        assert np.abs(values[each][0] - values[of][0]).max() > 1e-4


def test_methods_read_the_feature_that_their_option_says(pool: Pool) -> None:
    assert Prism().needs().features == (ImageStates(1),)
    assert Prism(frames="middle").needs().features == (FrameStates(1, "middle"),)
    assert Prism(frames="each", pool="last_token").needs().features == (FrameStates(1, "each", "last_token"),)
    assert ScalSelect().needs().features == (AttendedStates(),)
    assert ScalSelect(frames="each").needs().features == (AttendedFrames("each"),)
    values = np.random.default_rng(0).normal(size=(len(pool.images), 8))
    made = Prism(frames="middle", scope="global", centering="per_vector", several="first").select(
        pool, Features({FrameStates(1, "middle"): values}), 3, np.random.default_rng(0)
    )
    first = [pool.images.index(shown) for shown in ("1.mp4", "1.png", "2.png", "1.png")]
    expected = np.corrcoef(values[first])
    np.testing.assert_allclose(made.scores[[0, 2, 3, 4]], (expected.sum(1) - 1) / 3, atol=1e-9)


def test_clips_of_several_frames_or_one_stand_between_images_in_a_family_with_newlines(
    pool: Pool, tmp_path: Path
) -> None:
    """Two images beside a clip have tokens of their own, as many each; one frame is all of a clip but its newline."""
    folder = pool.image_root
    said = "<image> and <video> and <image>?"
    row = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "Yes."}]}
    row |= {"videos": ["1.mp4"], "images": ["1.png", "2.png"]}
    (tmp_path / "rows.json").write_text(json.dumps([row]))
    rows = open_sharegpt(str(tmp_path / "rows.json"), str(folder), "stop", str(tmp_path / "cache"), "turn", "source")
    path = str(tiny_llava_onevision(tmp_path / "model", 56))
    for frames in (1, 3):
        vlm = llava_onevision.load(path, device="cpu", frames=frames)
        feature = AttendedFrames("each", 1, conditioning="all_image_tokens")
        [value] = values_of(vlm, rows, tmp_path / f"values-{frames}", feature)[feature]
        batch = encode(vlm, [talk_of(rows, 0)], side="right", limit=None)
        with torch.no_grad():
            states = vlm.model.model(**inputs_of(batch), output_hidden_states=True, use_cache=False).hidden_states[1][0]
        places = vlm.is_visual(batch["input_ids"][0]).nonzero().flatten().tolist()
        clip, image = 4 * frames + 1, 17  # 16 patches and a newline; patches of frames are pooled by four
        assert len(places) == 2 * image + clip
        of_frames = [places[image + 4 * frame : image + 4 * (frame + 1)] for frame in range(frames)]
        groups = [places[:image], *of_frames, places[-image:]]
        expected = torch.stack([states[group].mean(0) for group in groups]).mean(0)
        np.testing.assert_allclose(value, expected, atol=5e-5)
