"""Shapes and image processors of the models in configs/model, as in their public configuration files.

They are written down here from memory, so that a plan needs no file of the model; seven sums of parameters were
compared with published ones, single values were not. The modules are Hugging Face's own, on PyTorch's meta device, and
tokens of an image are counted by Hugging Face's own processors. Only the tokenizer is not the model's
(`selectmm.planning.known.tokenizer`). What words of a known pool come to is in `selectmm.planning.known.pools`.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from selectmm.models import internvl3, llava, llava_onevision, qwen2_5_vl, qwen2_vl, qwen3_vl
from selectmm.models.load import pick_dtype
from selectmm.models.qwen2_vl import limit_pixels
from selectmm.models.vlm import LINEAR, VLM, Family
from selectmm.planning.known.tokenizer import MARKS, tokenizer_of

from transformers import (  # isort: skip (after selectmm lets torchvision import)
    CLIPImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    LlavaProcessor,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.got_ocr2.image_processing_got_ocr2 import GotOcr2ImageProcessor  # isort: skip
from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor  # isort: skip
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor  # isort: skip
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor  # isort: skip
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor  # isort: skip


@dataclass(frozen=True)
class Shapes:
    """A model without its files.

    Attributes:
        source: where the sizes are from. family: as its loader has it.
        model, config: Hugging Face's classes, the second with the published sizes. processor: makes its processor.
    """

    source: str
    family: Family
    model: type[PreTrainedModel]
    config: PreTrainedConfig
    processor: Callable[[], ProcessorMixin]


def shapes_of(config: Mapping[str, Any], device: str) -> tuple[VLM, str] | None:
    """The model of a ``model`` group as shapes, with its dtype on a device of that type, and where they are from.

    None if ``model.path`` is neither the id of one of `MODELS` nor the name of one that has no id.
    """
    known = MODELS.get(str(config.get("path")))
    if known is None:
        return None
    dtype = pick_dtype(str(config.get("dtype", "auto")), torch.device(device))
    options = tuple(config.get(name) for name in ("max_pixels", "min_pixels", "tiles", "frames"))
    return _opened(str(config["path"]), dtype, *options), known.source


@cache
def _opened(
    path: str, dtype: torch.dtype, most: int | None, fewest: int | None, tiles: int | None, frames: int | None
) -> VLM:
    known = MODELS[path]
    processor = known.processor()
    if most or fewest:
        limit_pixels(processor, most, fewest)
    with torch.device("meta"):
        model = known.model._from_config(deepcopy(known.config), dtype=dtype).eval().requires_grad_(False)
    if known.family is llava_onevision.FAMILY:
        llava_onevision.limit(model, processor, tiles, frames or llava_onevision.FRAMES)
    elif tiles:
        processor.image_processor.max_patches = tiles
    shown = f"{most}, {fewest}, {tiles}, {frames}"
    return VLM(model, processor, known.family, f"published shapes of {path}, {dtype}, {shown}")


def _llava(source: str, text: PreTrainedConfig, template: str = "vicuna") -> Shapes:
    vision: dict[str, int | str] = {"hidden_size": 1024}
    vision |= {"intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    vision |= {"image_size": 336, "patch_size": 14, "projection_dim": 768, "model_type": "clip_vision_model"}

    def processor() -> ProcessorMixin:
        images = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
        return LlavaProcessor(
            images,
            tokenizer_of(config, "<image>"),
            patch_size=14,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
        )

    linear = llava.LINEAR_OF.get(text.model_type, LINEAR)
    family = llava.family(llava.TEMPLATES[template], lora=linear)
    config = LlavaConfig(vision_config=vision, text_config=text)
    return Shapes(
        f"{source}; openai/clip-vit-large-patch14-336", family, LlavaForConditionalGeneration, config, processor
    )


def _text(width: int, inner: int, layers: int, heads: int, keys: int, words: int, **others: object) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": words,
        **others,
    }


def _sections(*sections: int) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": "default", "mrope_section": list(sections), "rope_theta": 1e6}}


def _qwen2_vl(name: str, text: dict[str, Any]) -> Shapes:
    vision = {"depth": 32, "embed_dim": 1280, "num_heads": 16, "mlp_ratio": 4, "patch_size": 14}
    tied = bool(text.pop("tied"))
    config = Qwen2VLConfig(
        text_config=text | _sections(16, 24, 24) | {"tie_word_embeddings": tied},
        vision_config=vision | {"hidden_size": text["hidden_size"]},
        tie_word_embeddings=tied,
    )

    def processor() -> ProcessorMixin:
        images = Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 12_845_056})
        return Qwen2VLProcessor(images, tokenizer_of(config, "<|image_pad|>", "<|video_pad|>"), Qwen2VLVideoProcessor())

    return Shapes(name, qwen2_vl.FAMILY, Qwen2VLForConditionalGeneration, config, processor)


def _qwen2_5_vl(name: str, text: dict[str, Any]) -> Shapes:
    vision = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14}
    tied = bool(text.pop("tied"))
    config = Qwen2_5_VLConfig(
        text_config=text | _sections(16, 24, 24) | {"tie_word_embeddings": tied},
        vision_config=vision
        | {"out_hidden_size": text["hidden_size"], "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
        tie_word_embeddings=tied,
    )

    def processor() -> ProcessorMixin:
        images = Qwen2VLImageProcessor(size={"shortest_edge": 3136, "longest_edge": 12_845_056})
        return Qwen2_5_VLProcessor(
            images, tokenizer_of(config, "<|image_pad|>", "<|video_pad|>"), Qwen2VLVideoProcessor()
        )

    return Shapes(name, qwen2_5_vl.FAMILY, Qwen2_5_VLForConditionalGeneration, config, processor)


def _qwen3_vl(name: str, text: dict[str, Any], vision: dict[str, Any]) -> Shapes:
    tied = bool(text.pop("tied"))
    config = Qwen3VLConfig(
        text_config=text | _sections(24, 20, 20) | {"head_dim": 128, "tie_word_embeddings": tied},
        vision_config=vision
        | {"num_heads": 16, "patch_size": 16, "out_hidden_size": text["hidden_size"], "num_position_embeddings": 2304},
        tie_word_embeddings=tied,
    )

    def processor() -> ProcessorMixin:
        half = [0.5, 0.5, 0.5]
        pixels = {"shortest_edge": 65_536, "longest_edge": 16_777_216}
        images = Qwen2VLImageProcessor(size=pixels, patch_size=16, image_mean=half, image_std=half)
        return Qwen3VLProcessor(images, tokenizer_of(config, "<|image_pad|>", "<|video_pad|>"), Qwen3VLVideoProcessor())

    return Shapes(name, qwen3_vl.FAMILY, Qwen3VLForConditionalGeneration, config, processor)


def _internvl3(name: str, text: dict[str, Any]) -> Shapes:
    vision: dict[str, int | str] = {"hidden_size": 1024}
    vision |= {"intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    config = InternVLConfig(
        vision_config=vision | {"image_size": [448, 448], "patch_size": [14, 14], "attention_bias": True},
        text_config=Qwen2Config(**text, tie_word_embeddings=False),
        image_seq_length=256,
        tie_word_embeddings=False,
    )

    def processor() -> ProcessorMixin:
        size = {"height": 448, "width": 448}
        images = GotOcr2ImageProcessor(size=size)
        return InternVLProcessor(
            images,
            tokenizer_of(config, MARKS["context_image_token"]),
            InternVLVideoProcessor(size=size),
            image_seq_length=256,
        )

    return Shapes(name, internvl3.FAMILY, InternVLForConditionalGeneration, config, processor)


def _llava_onevision(name: str, text: dict[str, Any]) -> Shapes:
    """With SigLIP's SO400M for 384 pixels, without its last layer and its head."""
    vision: dict[str, int | str | bool] = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26}
    vision |= {"num_attention_heads": 16, "image_size": 384, "patch_size": 14, "vision_use_head": False}
    config = LlavaOnevisionConfig(
        vision_config=vision | {"model_type": "siglip_vision_model"}, text_config=Qwen2Config(**text)
    )

    def processor() -> ProcessorMixin:
        return LlavaOnevisionProcessor(
            LlavaOnevisionImageProcessor(),
            tokenizer_of(config, "<image>"),
            LlavaOnevisionVideoProcessor(),
            num_image_tokens=729,
            vision_feature_select_strategy="full",
        )

    return Shapes(name, llava_onevision.FAMILY, LlavaOnevisionForConditionalGeneration, config, processor)


_VICUNA_7B = LlamaConfig(**_text(4096, 11008, 32, 32, 32, 32064))
_VICUNA_13B = LlamaConfig(**_text(5120, 13824, 40, 40, 40, 32064))

MODELS: dict[str, Shapes] = {
    "llava-hf/llava-1.5-7b-hf": _llava("config.json of llava-hf/llava-1.5-7b-hf", _VICUNA_7B),
    "llava-hf/llava-1.5-13b-hf": _llava("config.json of llava-hf/llava-1.5-13b-hf", _VICUNA_13B),
    # These four have no id: their path is the name of their file in configs/model, as `selectmm plan` fills it in.
    "llava15_7b_stage1": _llava("config.json of llava-hf/llava-1.5-7b-hf, which has the same shapes", _VICUNA_7B),
    "llava15_13b_stage1": _llava("config.json of llava-hf/llava-1.5-13b-hf, which has the same shapes", _VICUNA_13B),
    "llava_phi2": _llava(
        "config.json of microsoft/phi-2", PhiConfig(**_text(2560, 10240, 32, 32, 32, 51200)), template="phi2"
    ),
    "llava_qwen25": _llava(
        "config.json of Qwen/Qwen2.5-7B-Instruct (assumed size: the configuration names none)",
        Qwen2Config(**_text(3584, 18944, 28, 28, 4, 152064)),
        template="qwen",
    ),
    "xtuner/llava-llama-3-8b-transformers": _llava(
        "config.json of xtuner/llava-llama-3-8b-transformers",
        LlamaConfig(**_text(4096, 14336, 32, 32, 8, 128320)),
        template="llama3",
    ),
    "Qwen/Qwen2-VL-2B-Instruct": _qwen2_vl(
        "config.json of Qwen/Qwen2-VL-2B-Instruct", _text(1536, 8960, 28, 12, 2, 151936, tied=True)
    ),
    "Qwen/Qwen2-VL-7B-Instruct": _qwen2_vl(
        "config.json of Qwen/Qwen2-VL-7B-Instruct", _text(3584, 18944, 28, 28, 4, 152064, tied=False)
    ),
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen2_5_vl(
        "config.json of Qwen/Qwen2.5-VL-3B-Instruct", _text(2048, 11008, 36, 16, 2, 151936, tied=True)
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": _qwen2_5_vl(
        "config.json of Qwen/Qwen2.5-VL-7B-Instruct", _text(3584, 18944, 28, 28, 4, 152064, tied=False)
    ),
    "Qwen/Qwen3-VL-4B-Instruct": _qwen3_vl(
        "config.json of Qwen/Qwen3-VL-4B-Instruct",
        _text(2560, 9728, 36, 32, 8, 151936, tied=True),
        {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "deepstack_visual_indexes": [5, 11, 17]},
    ),
    "Qwen/Qwen3-VL-8B-Instruct": _qwen3_vl(
        "config.json of Qwen/Qwen3-VL-8B-Instruct",
        _text(4096, 12288, 36, 32, 8, 151936, tied=False),
        {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "deepstack_visual_indexes": [8, 16, 24]},
    ),
    "OpenGVLab/InternVL3-2B-hf": _internvl3(
        "config.json of OpenGVLab/InternVL3-2B-hf", _text(1536, 8960, 28, 12, 2, 151674)
    ),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": _llava_onevision(
        "config.json of llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
        _text(896, 4864, 24, 14, 2, 152_000, tie_word_embeddings=True),
    ),
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": _llava_onevision(
        "config.json of llava-hf/llava-onevision-qwen2-7b-ov-hf",
        _text(3584, 18944, 28, 28, 4, 152_128, tie_word_embeddings=False),
    ),
}
