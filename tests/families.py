"""Every family as a tiny random checkpoint of its real class: how to make it and how to load it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from hydra.utils import instantiate

from selectmm.models.vlm import VLM
from tests.tiny import save, text_sizes, tiny_llava, tiny_qwen2_vl, tokenizer_of

from transformers import (  # isort: skip
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PhiConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor  # isort: skip
from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor  # isort: skip
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor  # isort: skip
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor  # isort: skip
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor  # isort: skip

CHAT = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN_VISION = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]


def tiny_qwen2_5_vl(folder: Path) -> Path:
    """A Qwen2.5-VL whose vision tower has one layer of windows and one of full attention; returns ``folder``."""
    tokenizer = tokenizer_of([*CHAT, *QWEN_VISION], "<|im_end|>", "<|endoftext|>")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    vision = {"depth": 2, "hidden_size": 32, "out_hidden_size": 48, "intermediate_size": 64, "num_heads": 2}
    config = Qwen2_5_VLConfig(
        text_config=text_sizes(tokenizer) | {"rope_parameters": rope, "bos_token_id": None},
        vision_config=vision | {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1]},
        **_qwen_tokens(tokenizer),
    )
    images = Qwen2VLImageProcessor(size={"shortest_edge": 4 * 28 * 28, "longest_edge": 16 * 28 * 28})
    torch.manual_seed(0)
    processor = Qwen2_5_VLProcessor(images, tokenizer, Qwen2VLVideoProcessor())
    return save(Qwen2_5_VLForConditionalGeneration(config), processor, folder)


def tiny_qwen3_vl(folder: Path) -> Path:
    """A Qwen3-VL of three query heads to one key head; one feature is added after decoder layer 1; returns ``folder``.

    Patches have 16 pixels, so that images have 4 to 16 tokens from 64 × 64 pixels on.
    """
    tokenizer = tokenizer_of([*CHAT, *QWEN_VISION], "<|im_end|>", "<|endoftext|>")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "mrope_interleaved": True, "rope_theta": 1e4}
    sizes = text_sizes(tokenizer) | {"head_dim": 16, "num_key_value_heads": 1, "rope_parameters": rope}
    vision = {"depth": 2, "hidden_size": 32, "out_hidden_size": 48, "intermediate_size": 64, "num_heads": 2}
    config = Qwen3VLConfig(
        text_config=sizes,
        vision_config=vision | {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]},
        **_qwen_tokens(tokenizer),
    )
    pixels = {"shortest_edge": 4 * 32 * 32, "longest_edge": 16 * 32 * 32}
    half = [0.5, 0.5, 0.5]
    images = Qwen2VLImageProcessor(size=pixels, patch_size=16, image_mean=half, image_std=half)
    torch.manual_seed(0)
    processor = Qwen3VLProcessor(images, tokenizer, Qwen3VLVideoProcessor())
    return save(Qwen3VLForConditionalGeneration(config), processor, folder)


def tiny_internvl3(folder: Path) -> Path:
    """An InternVL3 with a Qwen2 body and tiles of 56 pixels, 4 tokens each; returns ``folder``."""
    tokenizer = tokenizer_of([*CHAT, "<img>", "</img>", "<IMG_CONTEXT>", "<video>"], "<|im_end|>", "<|endoftext|>")
    marks = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    named = marks | {"video_token": "<video>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = InternVLConfig(
        vision_config=vision | {"image_size": [56, 56], "patch_size": [14, 14]},
        text_config=Qwen2Config(**text_sizes(tokenizer), bos_token_id=None, tie_word_embeddings=False),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    size = {"height": 56, "width": 56}
    images = GotOcr2ImageProcessor(size=size, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    processor = InternVLProcessor(images, tokenizer, InternVLVideoProcessor(size=size), image_seq_length=4)
    torch.manual_seed(0)
    return save(InternVLForConditionalGeneration(config), processor, folder)


def tiny_llava_onevision(folder: Path, side: int = 28) -> Path:
    """A LLaVA-OneVision with a Qwen2 body, a SigLIP tower without a head, and up to two by two tiles of ``side``
    pixels; returns ``folder``.

    With 28 a tile has 4 tokens and a clip's frame 1; with 56 they have 16 and 4.
    """
    tokenizer = tokenizer_of([*CHAT, "<image>", "<video>"], "<|im_end|>", "<|endoftext|>")
    grids = [[height, width] for height in (side, 2 * side) for width in (side, 2 * side)]
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaOnevisionConfig(
        vision_config=vision
        | {"image_size": side, "patch_size": 14, "vision_use_head": False, "model_type": "siglip_vision_model"},
        text_config=Qwen2Config(**text_sizes(tokenizer), bos_token_id=None, tie_word_embeddings=False),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
    )
    size = {"height": side, "width": side}
    processor = LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=grids),
        tokenizer,
        LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(side // 14) ** 2,
        vision_feature_select_strategy="full",
    )
    torch.manual_seed(0)
    return save(LlavaOnevisionForConditionalGeneration(config), processor, folder)


def _qwen_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    return {
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    }


@dataclass(frozen=True)
class Tiny:
    """A family in tests: ``make`` writes a checkpoint into a folder, ``options`` choose the loader, for Hydra."""

    make: Callable[[Path], Path]
    options: dict[str, str | int]

    def build(self, folder: Path) -> dict[str, object]:
        """Make the checkpoint in ``folder``; returns the configuration that loads it on the CPU."""
        return {**self.options, "path": str(self.make(folder)), "device": "cpu"}

    def load(self, folder: Path) -> VLM:
        """Make the checkpoint in ``folder`` and load it on the CPU."""
        return instantiate(self.build(folder))


LLAVA = "selectmm.models.llava.load"
LLAMA3 = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
FAMILIES = {
    "llava_chatml": Tiny(tiny_llava, {"_target_": LLAVA, "template": "chatml"}),
    "llava_vicuna": Tiny(tiny_llava, {"_target_": LLAVA, "template": "vicuna"}),
    "llava_phi2": Tiny(partial(tiny_llava, body=PhiConfig, special=CHAT[:1]), {"_target_": LLAVA, "template": "phi2"}),
    "llava_llama3": Tiny(partial(tiny_llava, special=LLAMA3), {"_target_": LLAVA, "template": "llama3"}),
    "llava_qwen25": Tiny(partial(tiny_llava, body=Qwen2Config), {"_target_": LLAVA, "template": "qwen"}),
    "qwen2_vl": Tiny(tiny_qwen2_vl, {"_target_": "selectmm.models.qwen2_vl.load"}),
    "qwen2_5_vl": Tiny(tiny_qwen2_5_vl, {"_target_": "selectmm.models.qwen2_5_vl.load"}),
    "qwen3_vl": Tiny(tiny_qwen3_vl, {"_target_": "selectmm.models.qwen3_vl.load"}),
    "internvl3": Tiny(tiny_internvl3, {"_target_": "selectmm.models.internvl3.load", "tiles": 4}),
    "llava_onevision": Tiny(tiny_llava_onevision, {"_target_": "selectmm.models.llava_onevision.load", "frames": 4}),
}
# For tests of layers and weights: the two that are left out differ from llava_chatml in the template alone.
BODIES = [name for name in FAMILIES if name not in ("llava_vicuna", "llava_llama3")]
