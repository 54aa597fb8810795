"""Tiny random checkpoints and a tiny pool, made on the spot: the real classes and processors, nothing downloaded."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import selectmm.models  # noqa: F401  (lets torchvision import)

from transformers import (  # isort: skip
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ProcessorMixin,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor  # isort: skip
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor  # isort: skip

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 70, 220), "yellow": (230, 210, 50)}
SHAPES = ("square", "circle")
_CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the user's questions. USER: ASSISTANT: You are a helpful assistant.",
    "system user assistant What colour is the shape? Which shape is it? The shape is a square. It is a circle.",
    *(f"The {shape} is {colour}." for shape in SHAPES for colour in COLOURS),
    "How much is one plus two? The sum of 0 1 2 3 4 5 6 7 8 9 is not asked. yes no A B C D",
]


def tiny_llava(folder: Path, body: type[PreTrainedConfig] = LlamaConfig, special: Sequence[str] = ()) -> Path:
    """A LLaVA of two decoder layers and a two-layer CLIP tower (28-pixel images, 4 tokens each); returns ``folder``.

    Its tokenizer knows the tokens of the templates ``vicuna``, ``chatml`` and ``qwen``, and those in ``special``.
    """
    tokens = ["<pad>", "<s>", "</s>", "<image>", "<|im_start|>", "<|im_end|>", *special]
    tokenizer = tokenizer_of(tokens, "</s>", "<pad>")
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    text = body(**text_sizes(tokenizer), bos_token_id=1, tie_word_embeddings=False, max_position_embeddings=2048)
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=32,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=image_token, image_seq_length=4)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )
    torch.manual_seed(0)
    return save(LlavaForConditionalGeneration(config), processor, folder)


def tiny_qwen2_vl(folder: Path) -> Path:
    """A Qwen2-VL of two decoder layers and a two-layer vision tower (images of 4 to 16 tokens); returns ``folder``."""
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
    tokenizer = tokenizer_of([*names, "<|video_pad|>"], "<|im_end|>", "<|endoftext|>")
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    text = {**text_sizes(tokenizer), "rope_parameters": rope, "max_position_embeddings": 2048, "bos_token_id": None}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 48, "num_heads": 2, "mlp_ratio": 2, "patch_size": 14}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
    )
    pixels = {"shortest_edge": 4 * 28 * 28, "longest_edge": 16 * 28 * 28}
    processor = Qwen2VLProcessor(Qwen2VLImageProcessor(size=pixels), tokenizer, Qwen2VLVideoProcessor())
    torch.manual_seed(0)
    return save(Qwen2VLForConditionalGeneration(config), processor, folder)


def tiny_clip(folder: Path, window: int) -> Path:
    """A CLIP of two layers a side (28-pixel images) that reads ``window`` tokens of text; returns ``folder``."""
    tokenizer = tokenizer_of(["<pad>", "<s>", "</s>"], "</s>", "<pad>")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = {**sizes, **special, "vocab_size": len(tokenizer), "max_position_embeddings": window, "projection_dim": 24}
    vision = {**sizes, "image_size": 28, "patch_size": 14, "projection_dim": 24}
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    return save(model, CLIPProcessor(images, tokenizer), folder)


def write_pool(folder: Path, rows: int = 24, seed: int = 0) -> tuple[Path, Path]:
    """Write a LLaVA JSON and its images; returns (the JSON, the image folder).

    Rows take turns: image row from ``coco``, image row from ``gqa``, two-turn image row from ``coco`` on the previous
    coco image (an image may have several rows), text-only row (its source is ``text``). The answer can be learned.
    """
    rng = np.random.default_rng(seed)
    images = folder / "images"
    entries = []
    colour, shape, before = "", "", ("", "")
    for row in range(rows):
        kind = ("coco", "gqa", "coco", "text")[row % 4]
        if row % 4 != 2:
            before = colour, shape
            colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
        talk = [("What colour is the shape?", f"The {shape} is {colour}.")]
        entry: dict[str, object] = {"id": str(row)}
        if kind == "text":
            left, right = rng.integers(1, 5, size=2)
            talk = [(f"How much is {left} plus {right}?", f"{left + right}")]
        elif row % 4 == 2:
            entry["image"] = entries[row - 2]["image"]
            colour, shape = before
            talk = [("Which shape is it?", f"It is a {shape}."), ("And the colour?", colour)]
        else:
            entry["image"] = f"{kind}/{row:04d}.png"
            _draw(images / kind / f"{row:04d}.png", colour, shape, rng)
        entry["conversations"] = _llava_turns(talk, "image" in entry)
        entries.append(entry)
    images.mkdir(parents=True, exist_ok=True)
    file = folder / "pool.json"
    file.write_text(json.dumps(entries))
    return file, images


def _llava_turns(talk: list[tuple[str, str]], image: bool) -> list[dict[str, str]]:
    turns = []
    for number, (question, answer) in enumerate(talk):
        placeholder = "<image>\n" if image and number == 0 else ""
        turns += [{"from": "human", "value": placeholder + question}, {"from": "gpt", "value": answer}]
    return turns


def _draw(path: Path, colour: str, shape: str, rng: np.random.Generator) -> None:
    width, height = (int(side) for side in rng.integers(40, 80, size=2))
    image = Image.new("RGB", (width, height), (235, 235, 235))
    draw = ImageDraw.Draw(image)
    box = (8, 8, width - 8, height - 8)
    (draw.rectangle if shape == "square" else draw.ellipse)(box, fill=COLOURS[colour])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def tokenizer_of(special: list[str], end: str, pad: str) -> PreTrainedTokenizerFast:
    """Byte-level BPE like Qwen2's own; the special tokens get the first ids, in order."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=pad)


def text_sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Of a language model of two layers."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,  # head size 16, which Qwen2-VL's rope sections [2, 3, 3] need
        "num_key_value_heads": 3,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def save(model: PreTrainedModel, processor: ProcessorMixin, folder: Path) -> Path:
    """Write a checkpoint as Hugging Face does; returns ``folder``."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
