"""Make an alignment: teach the assembled model to see.

    python -m selectmm.quickstart.align --layers 0 1 28 29 --to FOLDER

Trains the projector and a low-rank change of the language model on the ``align`` part of the material, in plain open
questions and a few yes/no ones; letters, numbers of several digits, "unanswerable", endings and most text are left for
the pool to teach. With the default layers and folder it was run once, by us, and committed: every machine then opens
the same base (see `base`). An alignment of other layers is opened with ``model=embedded model.alignment=FOLDER``.
"""

import hashlib
import json
import platform
import sys
import time
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save as safetensors_bytes
from torch import nn

from selectmm.models import llava
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from selectmm.quickstart import base, facts
from selectmm.quickstart.formats import SHORT, openly, yes_no
from selectmm.quickstart.item import Item
from selectmm.quickstart.material import Part
from selectmm.quickstart.sources import Maker

LAYERS, RANK, ALPHA = (0, 1, 28, 29), 64, 64
BATCH, SEED = 16, 20260


@dataclass(frozen=True)
class Round:
    """A round of steps on rows in these proportions, asked openly and by yes/no; ``rate`` is the peak learning rate."""

    steps: int
    rate: float
    open: dict[Maker, int]
    yes_no: dict[Maker, int]


# The first round teaches what is easy (shapes, bars) and leaves colours and places half learned, for the second.
ROUNDS = (
    Round(
        600,
        1e-3,
        {
            facts.shape: 8,
            facts.colour: 10,
            facts.digit: 20,
            facts.caption: 5,
            facts.highest: 8,
            facts.side: 8,
            facts.side_colour: 8,
            facts.cylinders: 2,
            facts.warmth: 2,
            facts.season: 2,
        },
        {facts.shape: 9, facts.colour: 9, facts.digit: 5, facts.side: 4},
    ),
    Round(
        500,
        5e-4,
        {
            facts.shape: 3,
            facts.colour: 18,
            facts.digit: 18,
            facts.caption: 5,
            facts.highest: 3,
            facts.side: 9,
            facts.side_colour: 9,
            facts.cylinders: 2,
            facts.warmth: 3,
            facts.season: 2,
        },
        {facts.shape: 4, facts.colour: 12, facts.digit: 8, facts.side: 4},
    ),
)


def rows(wanted: Round, part: Part, rng: np.random.Generator) -> list[Item]:
    """The items of a round and a few more, shuffled. A picture returns in several questions."""
    count, total = wanted.steps * BATCH + 64, sum(wanted.open.values()) + sum(wanted.yes_no.values())
    items = [openly(f) for make, share in wanted.open.items() for f in _take(make, part, share * count // total, rng)]
    for make, share in wanted.yes_no.items():
        items += [yes_no(f, rng, bool(rng.integers(2))) for f in _take(make, part, share * count // total, rng)]
    return [items[i] for i in rng.permutation(len(items))]


def _take(make: Maker, part: Part, count: int, rng: np.random.Generator) -> Iterator[facts.Fact]:
    """``count`` facts; when the material ends it is asked again, drawn anew."""
    return islice((fact for _ in cycle([0]) for fact in make(part, rng)), count)


def conversation(item: Item) -> Conversation:
    """An open item as a training row; a caption carries no format prompt."""
    prompt = item.question if item.kind == "caption" else item.question + SHORT
    images = () if item.image is None else (item.image,)
    return Conversation((Turn("user", prompt), Turn("assistant", item.answer)), images)


def batches(items: list[Item], size: int, rng: np.random.Generator) -> Iterator[list[Item]]:
    """Batches of rows of like length, in random order: less padding, and the same rows."""
    by_length = [items[i : i + 32 * size] for i in range(0, len(items), 32 * size)]
    ready = [
        group[i : i + size]
        for chunk in by_length
        for group in [sorted(chunk, key=lambda item: (item.image is None, len(item.question)))]
        for i in range(0, len(group), size)
    ]
    yield from (ready[i] for i in rng.permutation(len(ready)))


def train(vlm: VLM, items: list[Item], wanted: Round, tokens: dict[bytes, torch.Tensor]) -> list[float]:
    """Train the LoRA weights and the projector in place; the loss of every step."""
    trained = [*vlm.model.model.multi_modal_projector.requires_grad_(True).parameters()]
    trained += [weight for name, weight in vlm.model.named_parameters() if "lora_" in name]
    steps = wanted.steps
    optimiser = torch.optim.AdamW(trained, lr=wanted.rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, wanted.rate, total_steps=steps + 1, pct_start=0.05)
    losses = []
    for batch in islice(batches(items, BATCH, np.random.default_rng(SEED)), steps):
        loss = answer_loss(vlm.model, embedded(vlm, batch, tokens))
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        losses.append(loss.item())
        if len(losses) % 25 == 0:
            print(f"step {len(losses)} of {steps}: loss {np.mean(losses[-25:]):.3f}", flush=True)
    for weight in trained:  # to what will be stored, so that a round starts from weights that a file can hold
        weight.data = weight.data.half().float()
    return losses


def embedded(vlm: VLM, batch: list[Item], tokens: dict[bytes, torch.Tensor]) -> Batch:
    """The batch with embeddings in place of words and pixels. The tower is frozen: each picture passes it once."""
    encoded = encode(vlm, [conversation(item) for item in batch], side="right", limit=512)
    ids, pixels, model = encoded["input_ids"], encoded.get("pixel_values"), vlm.model.model
    embeddings = model.language_model.embed_tokens(ids)
    if pixels is not None:
        keys = [item.image.tobytes() for item in batch if item.image is not None]
        with torch.no_grad():
            for key, picture in zip(keys, pixels, strict=True):
                if key not in tokens:
                    tokens[key] = model.vision_tower(picture[None]).last_hidden_state[0]
        seen = model.multi_modal_projector(torch.stack([tokens[key] for key in keys]))
        embeddings = embeddings.masked_scatter((ids == vlm.image_token_id).unsqueeze(-1), seen)
    return {"inputs_embeds": embeddings, "attention_mask": encoded["attention_mask"], "labels": encoded["labels"]}


def normalise(vlm: VLM, items: list[Item]) -> None:
    """Set the tower's channel statistics from real images, and bring the projector's output to the words' scale."""
    tower, projector = vlm.model.model.vision_tower, vlm.model.model.multi_modal_projector
    pictures = [conversation(item) for item in items if item.image is not None][:256]
    with torch.no_grad():
        pixels = encode(vlm, pictures, side="right", limit=512)["pixel_values"]
        tokens = tower(pixels).last_hidden_state.flatten(0, 1)
        tower.mean.copy_(tokens.mean(0))
        tower.std.copy_(tokens.std(0) + 0.05)
        words = vlm.model.model.language_model.embed_tokens.weight.std()
        projector.linear_2.weight.mul_(words / projector(tower(pixels).last_hidden_state).std())
        projector.linear_2.bias.zero_()


def tensors(vlm: VLM) -> dict[str, torch.Tensor]:
    """What `base.merge` wants: statistics in float32, everything that was trained in float16."""
    found = {"tower.mean": vlm.model.model.vision_tower.mean, "tower.std": vlm.model.model.vision_tower.std}
    for name, weight in vlm.model.model.multi_modal_projector.state_dict().items():
        found[f"projector.{name}"] = weight.half()
    for name, module in vlm.model.model.language_model.named_modules():
        if hasattr(module, "lora_A"):
            found[f"{name}.A"] = module.lora_A["default"].weight.detach().half()
            found[f"{name}.B"] = module.lora_B["default"].weight.detach().half()
    return {name: tensor.contiguous().cpu() for name, tensor in found.items()}


def main(arguments: Sequence[str]) -> None:
    """Train and write ``alignment.safetensors`` and its record."""
    parser = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    parser.add_argument("--layers", type=int, nargs="+", default=list(LAYERS), help="of SmolLM2's, from 0 to 29")
    parser.add_argument("--to", type=Path, default=base.ALIGNMENT, help="folder that is written")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    torch.manual_seed(SEED)
    model, processor = base.assemble(given.layers)
    vlm = VLM(model.requires_grad_(False), processor, llava.family(llava.TEMPLATES[base.TEMPLATE]), "unaligned")
    items = [rows(wanted, "align", np.random.default_rng(SEED + number)) for number, wanted in enumerate(ROUNDS)]
    normalise(vlm, items[0])
    torch.manual_seed(SEED)
    get_peft_model(vlm.model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=vlm.family.lora))
    tokens: dict[bytes, torch.Tensor] = {}
    losses = [train(vlm, some, wanted, tokens) for some, wanted in zip(items, ROUNDS, strict=True)]
    write(given.to, given.layers, tensors(vlm), items, losses, time.perf_counter() - started)


def write(
    folder: Path,
    layers: Sequence[int],
    trained: dict[str, torch.Tensor],
    items: list[list[Item]],
    losses: list[list[float]],
    seconds: float,
) -> None:
    """The tensors and the record of how they were made."""
    content = safetensors_bytes(trained)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "alignment.safetensors").write_bytes(content)
    record = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "command": f"python -m selectmm.quickstart.align --layers {' '.join(map(str, layers))}",
        "layers": list(layers),
        "rank": RANK,
        "alpha": ALPHA,
        "steps": [len(some) for some in losses],
        "batch_size": BATCH,
        "lr": [wanted.rate for wanted in ROUNDS],
        "seed": SEED,
        "rows": [len(some) for some in items],
        "data_sha256": [_fingerprint(some) for some in items],
        "last_losses": [round(float(np.mean(some[-25:])), 4) for some in losses],
        "seconds": round(seconds),
        "threads": torch.get_num_threads(),
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "timm", "numpy", "pillow")},
    }
    (folder / "alignment.json").write_text(json.dumps(record, indent=1) + "\n")


def _fingerprint(items: list[Item]) -> str:
    content = hashlib.sha256()
    for item in items:
        content.update(f"{item.kind}\n{item.question}\n{item.answer}\n".encode())
        content.update(b"" if item.image is None else item.image.tobytes())
    return content.hexdigest()


if __name__ == "__main__":
    main(sys.argv[1:])
