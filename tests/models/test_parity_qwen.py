"""Ids and masks of Qwen-VL and InternVL3 conversations against their published templates, written out by hand.

Sources: the chat templates in the checkpoints' ``chat_template.json`` (Qwen2-VL and Qwen2.5-VL give a system message by
themselves, Qwen3-VL and InternVL3's port do not); for the masks github.com/QwenLM/Qwen3-VL, qwen-vl-finetune's
data_processor.py, preprocess_qwen_visual: the loss on what follows ``<|im_start|>assistant\\n`` up to ``<|im_end|>``
and the line break behind it. InternVL3's masks follow the same rule (OpenGVLab's own fine-tuning code was not read).

An image has four tokens here.
"""

import pytest
import torch
from PIL import Image

from selectmm.models import internvl3, qwen2_5_vl, qwen2_vl, qwen3_vl
from selectmm.models.encode import IGNORED, Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.models.golden import byte_tokenizer, ids_and_labels, vlm_of

from transformers import InternVLProcessor, Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor  # isort: skip
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor  # isort: skip
from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor  # isort: skip
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor  # isort: skip
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor  # isort: skip
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor  # isort: skip

IMAGE = Image.new("RGB", (56, 56), (200, 30, 30))
ONE = (Turn("user", "What is this?"), Turn("assistant", "A dog."))
TWO = (*ONE, Turn("user", "Sure?"), Turn("assistant", "Yes."))


def qwen2_images() -> Qwen2VLImageProcessor:
    return Qwen2VLImageProcessor(size={"shortest_edge": 4 * 28 * 28, "longest_edge": 16 * 28 * 28})


def qwen2() -> VLM:
    processor = Qwen2VLProcessor(qwen2_images(), byte_tokenizer("<|im_end|>"), Qwen2VLVideoProcessor())
    return vlm_of(processor, qwen2_vl.FAMILY, "<|image_pad|>")


def qwen2_5() -> VLM:
    processor = Qwen2_5_VLProcessor(qwen2_images(), byte_tokenizer("<|im_end|>"), Qwen2VLVideoProcessor())
    return vlm_of(processor, qwen2_5_vl.FAMILY, "<|image_pad|>")


def qwen3() -> VLM:
    pixels = {"shortest_edge": 4 * 32 * 32, "longest_edge": 16 * 32 * 32}
    images = Qwen2VLImageProcessor(size=pixels, patch_size=16)
    processor = Qwen3VLProcessor(images, byte_tokenizer("<|im_end|>"), Qwen3VLVideoProcessor())
    return vlm_of(processor, qwen3_vl.FAMILY, "<|image_pad|>")


def internvl() -> VLM:
    names = ("start_image_token", "end_image_token", "context_image_token", "video_token")
    named = dict(zip(names, ("<img>", "</img>", "<IMG_CONTEXT>", "<video>"), strict=True))
    images = GotOcr2ImageProcessor(size={"height": 56, "width": 56})
    tokenizer = byte_tokenizer("<|im_end|>", named)
    processor = InternVLProcessor(images, tokenizer, InternVLVideoProcessor(), image_seq_length=4)
    return vlm_of(processor, internvl3.FAMILY, "<IMG_CONTEXT>")


PADS = "<|vision_start|><|image_pad|><|image_pad|><|image_pad|><|image_pad|><|vision_end|>"
TILE = "<img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>\n"
HELPFUL = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
CASES = {
    "qwen2_vl": (qwen2, HELPFUL, PADS),
    "qwen2_5_vl": (qwen2_5, HELPFUL, PADS),
    "qwen3_vl": (qwen3, "", PADS),
    "internvl3": (internvl, "", TILE),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[VLM, str, str]:
    """A family, the text in front of its first turn, and its image."""
    make, system, image = CASES[request.param]
    return make(), system, image


def encoded(vlm: VLM, talk: Conversation, limit: int | None = None) -> tuple[list[int], list[int]]:
    batch = encode(vlm, [talk], side="right", limit=limit)
    return batch["input_ids"][0].tolist(), batch["labels"][0].tolist()


def test_a_single_turn(case: tuple[VLM, str, str]) -> None:
    vlm, system, image = case
    golden = f"{system}<|im_start|>user\n{image}What is this?<|im_end|>\n<|im_start|>assistant\n⟦A dog.<|im_end|>\n⟧"
    assert encoded(vlm, Conversation(ONE, (IMAGE,))) == ids_and_labels(golden)


def test_several_turns_with_the_image_in_the_first(case: tuple[VLM, str, str]) -> None:
    vlm, system, image = case
    golden = f"{system}<|im_start|>user\n{image}What is this?<|im_end|>\n<|im_start|>assistant\n⟦A dog.<|im_end|>\n⟧"
    golden += "<|im_start|>user\nSure?<|im_end|>\n<|im_start|>assistant\n⟦Yes.<|im_end|>\n⟧"
    assert encoded(vlm, Conversation(TWO, (IMAGE,))) == ids_and_labels(golden)


def test_text_only(case: tuple[VLM, str, str]) -> None:
    vlm, system, _ = case
    golden = f"{system}<|im_start|>user\nWhat is this?<|im_end|>\n<|im_start|>assistant\n⟦A dog.<|im_end|>\n⟧"
    assert encoded(vlm, Conversation(ONE)) == ids_and_labels(golden)


def test_an_empty_answer_is_its_end_alone(case: tuple[VLM, str, str]) -> None:
    vlm, system, _ = case
    golden = f"{system}<|im_start|>user\nWhat is this?<|im_end|>\n<|im_start|>assistant\n⟦<|im_end|>\n⟧"
    assert encoded(vlm, Conversation((ONE[0], Turn("assistant", "")))) == ids_and_labels(golden)


def test_a_cut_conversation_loses_the_end_of_its_answer_and_keeps_the_rest_of_the_mask(
    case: tuple[VLM, str, str],
) -> None:
    vlm, system, _ = case
    golden = f"{system}<|im_start|>user\nWhat is this?<|im_end|>\n<|im_start|>assistant\n⟦A dog.<|im_end|>\n⟧"
    ids, labels = ids_and_labels(golden)
    for lost in (1, 2, 5, 12):  # the line break; <|im_end|> too; part of the answer; part of "assistant" too
        assert encoded(vlm, Conversation(ONE), limit=len(ids) - lost) == (ids[:-lost], labels[:-lost])
    assert set(labels[:-12]) == {IGNORED}


def test_a_question_ends_where_the_answer_would_begin(case: tuple[VLM, str, str]) -> None:
    vlm, system, image = case
    golden = f"{system}<|im_start|>user\n{image}What is this?<|im_end|>\n<|im_start|>assistant\n"
    assert encoded(vlm, Conversation(ONE[:1], (IMAGE,))) == ids_and_labels(golden)


# The published templates' rules for what a pool holds, written again: no tools, no videos, no numbered pictures. This
# way round it is Hugging Face that puts the system message, expands the image and prepares the pixels.
CHAT = (
    "{% for m in messages %}{% if loop.first %}{{ system }}{% endif %}<|im_start|>{{ m.role }}\n"
    "{% for part in m.content %}{% if part.type == 'image' %}{{ image }}{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
)


def test_hugging_faces_chat_template_gives_the_same_tensors(case: tuple[VLM, str, str]) -> None:
    vlm, system, image = case
    placeholder = "<IMG_CONTEXT>\n" if image == TILE else "<|vision_start|><|image_pad|><|vision_end|>"
    shown = {"type": "image", "image": IMAGE}
    messages = [{"role": turn.role, "content": [{"type": "text", "text": turn.text}]} for turn in TWO]
    messages[0]["content"].insert(0, shown)
    expected = vlm.processor.apply_chat_template(
        messages,
        chat_template=CHAT.replace("{{ system }}", system).replace("{{ image }}", placeholder),
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    batch = encode(vlm, [Conversation(TWO, (IMAGE,))], side="right", limit=None)
    for name, tensor in expected.items():
        assert torch.equal(batch[name], tensor), name
    assert {"input_ids", "attention_mask", "pixel_values"} <= expected.keys()
