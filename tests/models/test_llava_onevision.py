"""LLaVA-OneVision: ids and masks by hand, and numbers of tokens, pixels and states against transformers' own.

The template is that of transformers' convert_llava_onevision_weights_to_hf.py, whose ``chat_template`` the published
processors have. Tiles have 28 pixels and four tokens, and an image has up to two by two of them: one of 56 × 56 pixels
that is alone in its row has 4 tokens as a whole, and 4 lines of 4 tokens and a newline token each.
"""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from selectmm.errors import UserError
from selectmm.evaluation.generate import Question, generate
from selectmm.models import llava_onevision
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.lengths import Outline, image_tokens, token_counts
from selectmm.models.pack import pack
from selectmm.models.vlm import VLM
from selectmm.pool.clip import open_clip
from selectmm.pool.row import row_of
from selectmm.pool.sample import Turn
from tests.clips import write_clip
from tests.families import FAMILIES, tiny_llava_onevision
from tests.models.golden import byte_tokenizer, ids_and_labels, vlm_of
from tests.models.test_parity_qwen import CHAT, ONE, TWO

from transformers import (  # isort: skip
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    Qwen2Config,
)
from transformers.video_utils import load_video  # isort: skip

RED = Image.new("RGB", (56, 56), (200, 30, 30))
BLUE = Image.new("RGB", (30, 60), (30, 30, 200))
ALONE = "<image>" * (4 + 4 * (4 + 1))
AMONG = "<image>" * (4 + 1)
USER, ASSISTANT = "<|im_start|>user\n", "<|im_start|>assistant\n"


def processor_of(side: int, most: int, tokens: int) -> LlavaOnevisionProcessor:
    """Tiles of ``side`` pixels and ``tokens`` tokens, up to ``most`` by ``most``."""
    grids = [[side * high, side * wide] for high in range(1, most + 1) for wide in range(1, most + 1)]
    size = {"height": side, "width": side}
    return LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        byte_tokenizer("<|im_end|>"),
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=tokens,
        vision_feature_select_strategy="full",
    )


@pytest.fixture(scope="module")
def golden() -> VLM:
    return vlm_of(processor_of(28, 2, 4), llava_onevision.FAMILY, "<image>")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return FAMILIES["llava_onevision"].load(tmp_path_factory.mktemp("llava_onevision"))


def encoded(vlm: VLM, talk: Conversation) -> tuple[list[int], list[int]]:
    batch = encode(vlm, [talk], side="right", limit=None)
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


def test_ids_and_labels_of_a_row_with_an_image_by_hand(golden: VLM) -> None:
    first = f"What is this?<|im_end|>\n{ASSISTANT}⟦A dog.<|im_end|>\n⟧"
    second = f"{USER}Sure?<|im_end|>\n{ASSISTANT}⟦Yes.<|im_end|>\n⟧"
    assert encoded(golden, Conversation(ONE, (RED,))) == ids_and_labels(f"{USER}{ALONE}\n{first}")
    assert encoded(golden, Conversation(TWO, (RED,))) == ids_and_labels(f"{USER}{ALONE}\n{first}{second}")
    assert encoded(golden, Conversation(ONE)) == ids_and_labels(f"{USER}{first}")
    asked = f"{USER}{ALONE}\nWhat is this?<|im_end|>\n{ASSISTANT}"
    assert encoded(golden, Conversation(ONE[:1], (RED,))) == ids_and_labels(asked)


def test_a_row_has_a_system_prompt_of_its_own_or_none(golden: VLM) -> None:
    text = f"<|im_start|>system\nBe brief.<|im_end|>\n{USER}What is this?<|im_end|>\n{ASSISTANT}⟦A dog.<|im_end|>\n⟧"
    assert encoded(golden, Conversation((Turn("system", "Be brief."), *ONE))) == ids_and_labels(text)


def test_several_images_of_a_row_are_each_seen_as_a_whole(golden: VLM) -> None:
    row = row_of([Turn("user", "<image>\n<image>\nSame?"), Turn("assistant", "No.")], ["r", "b"], None, None)
    talk = Conversation(row.turns, (RED, BLUE), shown=row.images)
    text = f"{USER}{AMONG}\n{AMONG}\nSame?<|im_end|>\n{ASSISTANT}⟦No.<|im_end|>\n⟧"
    assert encoded(golden, talk) == ids_and_labels(text)
    said = [
        Turn("user", "A <image>?"),
        Turn("assistant", "x"),
        Turn("user", "And <image>, <image>"),
        Turn("assistant", "y"),
    ]
    row = row_of(said, ["r", "b", "r"], None, None)
    text = f"{USER}{AMONG}\nA ?<|im_end|>\n{ASSISTANT}⟦x<|im_end|>\n⟧"
    text += f"{USER}And {AMONG}, {AMONG}<|im_end|>\n{ASSISTANT}⟦y<|im_end|>\n⟧"
    assert encoded(golden, Conversation(row.turns, (RED, BLUE, RED), shown=row.images)) == ids_and_labels(text)


def test_hugging_faces_chat_template_gives_the_same_tensors_for_one_image_and_for_two(golden: VLM) -> None:
    """This way round it is Hugging Face that expands the images and prepares the pixels, several rows at a time."""
    messages = []
    for images in ((RED,), (RED, BLUE), (BLUE,)):
        shown = [{"type": "image", "image": image} for image in images]
        told = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in TWO]
        told[0]["content"] = [*shown, *told[0]["content"]]
        messages.append(told)
    expected = golden.processor.apply_chat_template(
        messages,
        chat_template=CHAT.replace("{{ system }}", "").replace("{{ image }}", "<image>\n"),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        padding=True,
        padding_side="right",
    )
    talks = [Conversation(TWO, images) for images in ((RED,), (RED, BLUE), (BLUE,))]
    batch = encode(golden, talks, side="right", limit=None)
    assert {"input_ids", "attention_mask", "pixel_values", "image_sizes", "batch_num_images"} == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    assert batch["batch_num_images"].tolist() == [1, 2, 1]


@cache
def fine() -> VLM:
    """Tiles of 7 by 7 tokens, up to six by six, so that the tokens of large images are interpolated."""
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision |= {"image_size": 28, "patch_size": 4, "vision_use_head": False, "model_type": "siglip_vision_model"}
    processor = processor_of(28, 6, 49)
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(**text, vocab_size=1300, num_key_value_heads=1),
        image_token_index=processor.image_token_id,
        video_token_index=processor.video_token_id,
        image_grid_pinpoints=processor.image_processor.image_grid_pinpoints,
    )
    torch.manual_seed(0)
    model = LlavaOnevisionForConditionalGeneration(config).eval()
    return VLM(model, processor, llava_onevision.FAMILY, "fine")


@settings(max_examples=25)
@given(st.integers(1, 300), st.integers(1, 300))
@example(1, 1)
@example(1, 900)
@example(900, 1)
@example(168, 168)  # six by six tiles, 42 × 42 tokens: more than nine tiles' and a fifth
@example(90, 89)
def test_an_image_of_any_size_has_the_tokens_of_transformers_processor_and_model(width: int, height: int) -> None:
    vlm, image = fine(), Image.new("RGB", (width, height), (90, 120, 30))
    batch = encode(vlm, [Conversation(ONE, (image,)), Conversation(ONE, (image, RED))], side="right", limit=None)
    written = (batch["input_ids"] == vlm.image_token_id).sum(1).tolist()
    assert written == [*image_tokens(vlm, [(width, height)]), 2 * (49 + 1)]
    outlines = [Outline(ONE, sizes) for sizes in (((width, height),), ((width, height), RED.size))]
    assert token_counts(vlm, outlines).tolist() == batch["attention_mask"].sum(1).tolist()
    with torch.no_grad():  # which refuses other numbers
        vlm.model(**inputs_of(batch))


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((28, 28), 4 + 2 * (2 + 1)),  # one tile
        ((56, 28), 4 + 2 * (4 + 1)),  # two side by side
        ((28, 56), 4 + 4 * (2 + 1)),
        ((56, 56), 4 + 4 * (4 + 1)),
        ((56, 14), 4 + 2 * (4 + 1)),  # two side by side; the image is one line of two, and half a line is not left out
        ((56, 40), 4 + 2 * (4 + 1)),  # two by two; of 2.9 lines in four, two stay
    ],
)
def test_tokens_by_hand(golden: VLM, size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(golden, [size]) == [tokens]


def test_states_of_a_row_do_not_depend_on_the_rows_beside_it(tiny: VLM, tmp_path: Path) -> None:
    """Images alone and among others, and clips of unlike lengths, padded or packed."""
    clips = [open_clip(tmp_path, write_clip(tmp_path / f"{n}.mp4", frames=n).name) for n in (2, 9)]
    shown = [(RED,), (), (BLUE, RED), (clips[0],), (BLUE, clips[1]), (RED, BLUE, clips[1], clips[0])]
    talks = [Conversation(ONE, tuple(images)) for images in shown]
    batch = encode(tiny, talks, side="right", limit=None)
    assert batch["batch_num_images"].tolist() == [1, 2, 1, 2], "clips do not count"
    assert batch["pixel_values_videos"].shape[:2] == (4, 4)
    with torch.no_grad():
        together = tiny.model.model(**inputs_of(batch), use_cache=False).last_hidden_state
        packed = tiny.model.model(**inputs_of(pack(tiny, batch)), use_cache=False).last_hidden_state[0]
        start = 0
        for row, talk in enumerate(talks):
            alone = encode(tiny, [talk], side="right", limit=None)
            expected = tiny.model.model(**inputs_of(alone), use_cache=False).last_hidden_state[0]
            torch.testing.assert_close(together[row, : len(expected)], expected, atol=2e-5, rtol=1e-4)
            torch.testing.assert_close(packed[start : start + len(expected)], expected, atol=2e-5, rtol=1e-4)
            start += len(expected)


def test_a_clip_is_its_evenly_spaced_frames_as_transformers_processor_prepares_them(tiny: VLM, tmp_path: Path) -> None:
    file = write_clip(tmp_path / "1.mp4", frames=12, size=(64, 48))
    video, _ = load_video(str(file), backend="pyav", sample_indices_fn=lambda metadata, **_: np.array([0, 3, 7, 11]))
    text = f"{USER}<video>\nWhat is this?<|im_end|>\n{ASSISTANT}A dog.<|im_end|>\n"
    expected = tiny.processor(text=[text], videos=[video], do_sample_frames=False, return_tensors="pt")
    talk = Conversation(ONE, (open_clip(tmp_path, file.name),))
    batch = encode(tiny, [talk], side="right", limit=None)
    assert expected.keys() == {"input_ids", "attention_mask", "pixel_values_videos"}
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    visual = tiny.is_visual(batch["input_ids"])
    assert int(visual.sum()) == 4 * 1 + 1, "a frame's 2 × 2 tokens are pooled to one; and a newline"
    assert token_counts(tiny, [Outline(ONE, talk.images)]).tolist() == [batch["input_ids"].shape[1]]


def test_a_published_clip_has_196_tokens_a_frame_and_a_newline(tmp_path: Path) -> None:
    """27 × 27 tokens are pooled to 14 × 14."""
    processor, clip = processor_of(384, 6, 729), open_clip(tmp_path, write_clip(tmp_path / "1.mp4").name)
    processor.video_processor.num_frames = 32
    vlm = vlm_of(processor, llava_onevision.FAMILY, "<image>")
    words = len(ids_and_labels(f"{USER}\nWhat is this?<|im_end|>\n{ASSISTANT}A dog.<|im_end|>\n")[0])
    assert token_counts(vlm, [Outline(ONE, (clip,))]).tolist() == [words + 32 * 196 + 1]


def test_answers_are_those_of_the_models_own_generation(tiny: VLM, tmp_path: Path) -> None:
    """Of the processor's own prompts, row by row, while ours are answered together."""
    file = write_clip(tmp_path / "1.mp4", frames=12)
    video, _ = load_video(str(file), backend="pyav", sample_indices_fn=lambda metadata, **_: np.array([0, 3, 7, 11]))
    shown = [(RED,), (RED, BLUE), (open_clip(tmp_path, file.name),), ()]
    replies = generate(tiny, [Question("What?", lambda images=images: images) for images in shown], 8, [])
    assert len({reply.text for reply in replies}) == len(shown)
    for images, reply in zip(shown, replies, strict=True):
        clip = bool(images) and not isinstance(images[0], Image.Image)
        marks = "<video>\n" if clip else "<image>\n" * len(images)
        given = (
            {"videos": [video], "do_sample_frames": False} if clip else {"images": [list(images)] if images else None}
        )
        inputs = tiny.processor(text=[f"{USER}{marks}What?<|im_end|>\n{ASSISTANT}"], return_tensors="pt", **given)
        found = tiny.model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        assert reply.text == tiny.processor.tokenizer.decode(found, skip_special_tokens=True)


def test_tiles_and_frames_can_be_limited_and_are_part_of_the_models_identity(tmp_path: Path) -> None:
    folder = str(tiny_llava_onevision(tmp_path / "model"))
    whole, two, clip = (
        llava_onevision.load(folder, device="cpu", **given) for given in ({}, {"tiles": 2}, {"frames": 8})
    )
    assert len({whole.identity, two.identity, clip.identity}) == 3
    assert two.processor.image_processor.image_grid_pinpoints == [[28, 28], [28, 56], [56, 28]]
    assert image_tokens(whole, [(56, 56)]) == [4 + 4 * 5] and image_tokens(two, [(56, 56)]) == [4 + 2 * 3]
    batch = encode(two, [Conversation(ONE, (RED,))], side="right", limit=None)
    with torch.no_grad():
        two.model(**inputs_of(batch))
    assert batch["pixel_values"].shape == (1, 2, 3, 28, 28), "the whole, and one tile"
    assert clip.processor.video_processor.num_frames == 8 and whole.processor.video_processor.num_frames == 32
    with pytest.raises(UserError, match=r"model\.tiles=0, but an image has at least one tile; set it to 1 or more, or"):
        llava_onevision.load(folder, tiles=0, device="cpu")
    with pytest.raises(UserError, match=r"model\.frames=0, but a clip has at least one frame; set it to 1 or more\."):
        llava_onevision.load(folder, frames=0, device="cpu")


def test_a_checkpoint_without_a_grid_of_so_few_tiles_is_told(tmp_path: Path) -> None:
    vision = SimpleNamespace(image_size=28)
    config = SimpleNamespace(vision_config=vision, image_grid_pinpoints=[[56, 56], [28, 112]])
    model = SimpleNamespace(config=config)
    with pytest.raises(
        UserError, match=r"model\.tiles=3, but this checkpoint cuts an image into 4 tiles or more; set it"
    ):
        llava_onevision.limit(model, processor_of(28, 2, 4), 3, 8)
