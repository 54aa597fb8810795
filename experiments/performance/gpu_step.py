"""What does a step of LLaVA-1.5 7B take on this GPU: rows per second, memory and share of the peak?

python experiments/performance/gpu_step.py [--steps 4] [--micro-batch 16] [--out FOLDER]

The model has the published sizes and random weights, made on the GPU in bfloat16: nothing is fetched, and a step takes
as long with any weights. It is trained by the line's own `finetune` under LLaVA's own LoRA recipe, on rows of one image
and as many tokens as the recipe keeps; opening and encoding them is part of the time. Without a GPU it says so.
"""

import json
import statistics
import sys
import tempfile
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from omegaconf import OmegaConf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from experiments.performance.sides import ROOT, keep
from selectmm.errors import UserError
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.formulas import Load, training
from selectmm.flops.gpus import UTILISATION, Gpu, gpu_of
from selectmm.models.encode import Conversation, encode
from selectmm.models.llava import VICUNA, family
from selectmm.models.vlm import VLM
from selectmm.planning.load import load_of
from selectmm.planning.stages import seconds_of
from selectmm.planning.work import Device
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.tuning.finetune import finetune
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.targets import lora_pattern

from transformers import (  # isort: skip  (only once selectmm has let torchvision import)
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

SPECIAL = ["<pad>", "<s>", "</s>", "<image>"]
# config.json of llava-hf/llava-1.5-7b-hf: Vicuna 7B with a longer vocabulary, and CLIP-L/14 at 336 pixels.
BODY = LlamaConfig(vocab_size=32064, max_position_embeddings=4096)
TOWER = CLIPVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=336,
    patch_size=14,
    projection_dim=768,
)
DISTINCT = 16  # rows of the pool; a step takes them again and again


def main(arguments: list[str]) -> Path | None:
    """Measure, print and keep; returns the record's path, None without a GPU."""
    made = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    made.add_argument("--steps", type=int, default=4, help="optimiser steps; the first is not counted")
    made.add_argument("--micro-batch", type=int, default=16, help="rows of a forward pass")
    made.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = made.parse_args(arguments)
    if not torch.cuda.is_available():
        print("not measured: PyTorch sees no GPU here")
        return None
    recipe = replace(recipe_of("llava15_lora"), micro_batch=given.micro_batch)
    vlm = random_llava(BODY, TOWER, torch.device("cuda"))
    figures = {"GPU": torch.cuda.get_device_name(), **measure(vlm, recipe, given.steps)}
    for name, value in figures.items():
        print(f"{name}: {value}")
    settings = {"steps": given.steps, "micro_batch": given.micro_batch, "recipe": recipe.name}
    return keep("gpu_step", settings, [], given.out, figures)


def recipe_of(name: str) -> Recipe:
    """A recipe of ``configs/recipe`` that builds on no other."""
    values = OmegaConf.load(ROOT / "configs" / "recipe" / f"{name}.yaml")
    return Recipe(**{key: value for key, value in values.items() if key != "_target_"})


def random_llava(body: LlamaConfig, tower: CLIPVisionConfig, device: torch.device) -> VLM:
    """A LLaVA of these sizes with random weights in bfloat16; a character is a token."""
    tokenizer = _tokenizer()
    tokens = (tower.image_size // tower.patch_size) ** 2
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = LlavaConfig(vision_config=tower, text_config=body, image_token_index=image, image_seq_length=tokens)
    side = {"height": tower.image_size, "width": tower.image_size}
    processor = LlavaProcessor(
        CLIPImageProcessor(size={"shortest_edge": tower.image_size}, crop_size=side),
        tokenizer,
        patch_size=tower.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    with torch.device(device):
        model = LlavaForConditionalGeneration._from_config(config, dtype=torch.bfloat16)
    return VLM(model.eval().requires_grad_(False), processor, family(VICUNA), identity="random")


def measure(vlm: VLM, recipe: Recipe, steps: int, gpu: Gpu | None = None) -> dict[str, object]:
    """Train ``steps`` steps and describe all but the first: of its time a good part is waking up.

    Args:
        gpu: what a plan says of the device; if it is given, the result also holds what a plan says of the step.
    """
    device = vlm.model.device
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = write_rows(folder / "pool", vlm, recipe.max_length)
        rows = np.resize(np.arange(len(pool)), steps * recipe.batch_size)
        recipe, taken = replace(recipe, length="epochs", epochs=1), []
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        finetune(
            vlm, pool, rows, recipe, Strategy("single", 1), 0, folder, lambda entry: taken.append(entry["seconds"])
        )
        report = json.loads((folder / "train.json").read_text())
        flops = flops_of(vlm, pool, recipe)
        plan = {} if gpu is None else planned(vlm, pool, recipe, gpu)
    seconds = statistics.median(taken[1:])
    return {
        "rows of a step": recipe.batch_size,
        "tokens of a row": report["tokens"] // report["rows"],
        "seconds of a step (median)": round(seconds, 3),
        "rows per second": round(recipe.batch_size / seconds, 2),
        "memory, GiB": round(torch.cuda.max_memory_allocated() / 2**30, 1) if device.type == "cuda" else "unknown",
        "model FLOPs of a step": flops,
        "share of peak": share_of_peak(flops / seconds, recipe.precision),
        **plan,
    }


def flops_of(vlm: VLM, pool: Pool, recipe: Recipe) -> float:
    """What a step has to compute at least; what gradient checkpointing computes again is not counted as work done."""
    body = anatomy_of(vlm, lora_pattern(vlm, recipe))
    return training(body, _load(vlm, pool, recipe), replace(recipe, gradient_checkpointing=False))


def planned(vlm: VLM, pool: Pool, recipe: Recipe, gpu: Gpu) -> dict[str, float]:
    """What a plan says of a step."""
    device = Device(vlm, anatomy_of(vlm), vlm.model.dtype.itemsize)
    work = device.train(_load(vlm, pool, recipe), recipe, Strategy("single", 1))
    memory = work.memory.total / 2**30 if work.memory else 0.0
    return {"planned seconds of a step": seconds_of(work, gpu, UTILISATION), "planned memory, GiB": memory}


def _load(vlm: VLM, pool: Pool, recipe: Recipe) -> Load:
    """Of a step; all rows are as long."""
    row = encode(vlm, [Conversation(pool[0].turns, (pool.open_image(pool[0].image),))], side="right", limit=None)
    return load_of(vlm, row, recipe.max_length).as_many_as(recipe.batch_size)


def share_of_peak(speed: float, precision: str) -> float | str:
    """Of the GPU's own peak, ``unknown`` where there is none or the table does not hold it."""
    try:
        return round(speed / gpu_of("here").peak(precision), 3) if torch.cuda.is_available() else "unknown"
    except UserError:
        return "unknown"


def write_rows(folder: Path, vlm: VLM, length: int) -> Pool:
    """`DISTINCT` rows of exactly ``length`` tokens: a picture, a question and, as half of the rest, an answer."""
    (folder / "images").mkdir(parents=True)
    noise, entries = np.random.default_rng(0), []
    silent = Conversation((Turn("user", ""), Turn("assistant", "")), (Image.new("RGB", (8, 8)),))
    empty = encode(vlm, [silent], side="right", limit=None)
    free = length - empty["input_ids"].shape[1]
    for number in range(DISTINCT):
        Image.fromarray(noise.integers(0, 256, (480, 640, 3), dtype=np.uint8)).save(folder / f"images/{number}.jpg")
        words = "".join(noise.choice(list("abcdefgh"), free))
        talk = [("human", f"<image>\n{words[: free // 2]}"), ("gpt", words[free // 2 :])]
        conversations = [{"from": who, "value": what} for who, what in talk]
        entries.append({"id": str(number), "image": f"{number}.jpg", "conversations": conversations})
    (folder / "pool.json").write_text(json.dumps(entries))
    return open_llava_json(str(folder / "pool.json"), str(folder / "images"), "stop", str(folder / "cache"))


def _tokenizer() -> PreTrainedTokenizerFast:
    """Of single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: number for number, token in enumerate([*SPECIAL, *alphabet])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


if __name__ == "__main__":
    main(sys.argv[1:])
