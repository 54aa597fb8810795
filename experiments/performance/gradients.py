"""What do batched per-row gradients cost against one backward pass per row, and does memory grow with the rows?

python experiments/performance/gradients.py [--rows 128] [--batch-size 32] [--out FOLDER]

TIVE's feature: the norm of every row's LoRA gradient and its projection to 8,192 numbers, LoRA of rank 128 on every
linear layer, gradients of those in self-attention. LoRA's weights are random: a gradient takes as long anywhere. Each
side is the median of three rounds in which they alternate; memory is that of a round.
"""

import ctypes
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part
from experiments.performance.naive import conversations
from experiments.performance.rows import LIMIT, Rows, parser
from experiments.performance.sides import Comparison, Side, differs, keep, measure, median
from experiments.performance.work import amount_of, computing, opening
from selectmm.features.gradients import ProjectedGradient, lora_linears, sketch
from selectmm.features.onepass import CPU_TOKENS, batches_of
from selectmm.features.reading import conversations_of
from selectmm.features.store import FeatureStore
from selectmm.flops.formulas import row_gradients
from selectmm.models.encode import Batch, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.losses import answer_logits
from selectmm.models.vlm import VLM
from selectmm.tuning.adapter import injected

from peft import LoraConfig  # isort: skip  (only once selectmm has let torchvision import)

RANK = 128
ROUNDS = 3
FEATURE = ProjectedGradient()
ENOUGH = 1.1  # memory that is flat in the rows: what four times the rows may raise it to
MMAP_THRESHOLD = -3  # of malloc.h: blocks from which on memory is mapped for each alone
Loss = Callable[[VLM, Batch], torch.Tensor]


def batched(rows: Rows, giving_back: bool = False) -> Callable[[], np.ndarray]:
    """Ours, through the store: images, encoding and writing included; [rows, 1 + dim], mapped as the store gives it.

    ``giving_back``: freed memory goes back to the system at once.
    """
    if giving_back:
        _give_back_freed_memory()
    vlm, pool = rows.open_model(), rows.open_pool()

    def run() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder, _with_lora(vlm):
            store = FeatureStore(Path(folder), vlm, rows.batch_size, shard=16 * rows.batch_size, limit=LIMIT)
            return store.get(pool, [FEATURE])[FEATURE]

    return run


def one_by_one(rows: Rows, loss: Loss) -> Callable[[], np.ndarray]:
    """A backward pass per row; the same numbers, [rows, 1 + dim]."""
    vlm, pool = rows.open_model(), rows.open_pool()

    def run() -> np.ndarray:
        with _with_lora(vlm) as weights:
            for weight in weights.values():
                weight.requires_grad_(True)
            batches = (encode(vlm, [one], side="right", limit=LIMIT) for one in conversations(pool))
            return np.stack([_gradient(loss(vlm, batch), weights) for batch in batches])

    return run


def model_loss(vlm: VLM, batch: Batch) -> torch.Tensor:
    """As the model itself computes it, with logits of every token."""
    return vlm.model(**inputs_of(batch), labels=batch["labels"]).loss


def answers_loss(vlm: VLM, batch: Batch) -> torch.Tensor:
    """With logits of the answer tokens alone, as ours has it: what is left is what batches are worth."""
    logits, targets, _ = answer_logits(vlm.model, batch)
    return cross_entropy(logits, targets)


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    given = parser(__doc__.splitlines()[0], rows=128).parse_args(arguments)
    rows = Rows(given.rows, given.cache, given.batch_size, given.model, given.pool)
    what, one = "batched gradients", "one backward per row"
    losses = {"the model's own loss": model_loss, "loss on answer tokens alone": answers_loss}
    works = ((batched, rows), *((one_by_one, rows, loss) for loss in losses.values()))
    rounds = [[measure(*work) for work in works] for _ in range(ROUNDS)]
    (ours, found), *others = (median(sides) for sides in zip(*rounds, strict=True))
    comparisons = [
        Comparison(what, f"{one}, {name}", ours, theirs, 2.5, differs=differs(found, expected))
        for name, (theirs, expected) in zip(losses, others, strict=True)
    ]
    many = replace(rows, times=4)
    longer, _ = measure(batched, many)
    what, flat = "batched gradients, every row four times", "every row once"
    comparisons.append(Comparison(what, flat, longer, ours, ENOUGH, at_least=False, of="grown"))
    needed, _ = measure(batched, many, True)
    least, _ = measure(batched, rows, True)
    what = f"{what}, freed memory given back at once"
    comparisons.append(Comparison(what, f"{flat}, likewise", needed, least, ENOUGH, at_least=False, of="grown"))
    settings = {"rows": given.rows, "batch_size": given.batch_size, "rank": RANK}
    return keep(
        "gradients", settings, comparisons, given.out, floors=[one.record() for one in floors(rows, ours, longer)]
    )


def floors(rows: Rows, ours: Side, longer: Side) -> list[Floor]:
    """Time of the rows once, and memory of every row four times.

    Time: forward, backward through frozen weights and each row's gradient of the LoRA matrices, by the formulas of
    `selectmm.flops.formulas`, and the projection of those: a matrix of a row, [r, side], is multiplied by ±1 entries
    from both sides, [side, k] and [r, s] with s = √dim and k = dim / s, which is 2·r·side·k + 2·k·r·s FLOP. Memory:
    what a batch needs is in proportion to its tokens, padding included, and the batch of the longest rows needs most.
    With every row four times that batch is made of fewer different rows, all of them the longest: it has more tokens.
    """
    amount = amount_of(rows)
    parts = (
        computing(amount, "gradients of every row", row_gradients(amount.body, amount.load, RANK, all_linear=False)),
        computing(amount, "their projection", projecting(amount.vlm, rows.count)),
        *opening(amount),
    )
    stated = [Floor("batched gradients", ours.seconds, parts)]
    if ours.grown:  # of few rows all may fit into memory that was there before
        once, four = most_tokens(amount.vlm, rows), most_tokens(amount.vlm, replace(rows, times=4))
        what = "tokens of the largest batch, as much memory each as with every row once"
        held = Part(what, four, "tokens", once / ours.grown)
        stated.append(Floor("batched gradients, every row four times", longer.grown, (held,), unit="MiB"))
    return stated


def projecting(vlm: VLM, rows: int) -> float:
    """FLOPs of projecting every row's gradients of self-attention's LoRA matrices."""
    with _with_lora(vlm):
        shapes = [linear.weight.shape for linear in lora_linears(vlm, FEATURE.scope).values()]
    total = 0.0
    for short, long in (sorted(shape) for shape in shapes):
        kept = min(short, math.isqrt(FEATURE.dim))
        columns = FEATURE.dim // kept
        total += 2 * short * long * columns + (2 * columns * short * kept if kept < short else 0)
    return total * rows


def most_tokens(vlm: VLM, rows: Rows) -> int:
    """Tokens of the largest batch, padding included."""
    pool, most = rows.open_pool(), 0
    for start in range(0, len(pool), 16 * rows.batch_size):
        shard = range(start, min(start + 16 * rows.batch_size, len(pool)))
        for batch in batches_of(pool, "conversation", shard, rows.batch_size):
            talks = [next(conversations_of(pool, "conversation", [row])) for row in batch]
            lengths = [min(encode(vlm, [one], side="right", limit=None)["input_ids"].shape[1], LIMIT) for one in talks]
            most = max(most, min(len(batch) * max(lengths), max(CPU_TOKENS, *lengths)))  # more are taken in parts
    return most


def _give_back_freed_memory() -> None:
    """Let malloc return blocks of 128 KiB and more to the system once they are freed; only glibc's is asked.

    By default it keeps blocks of sizes that later batches may not need, and the more sizes there were, the more it
    keeps. What is measured then is what a pass needs; it takes longer.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, 2**17)


@contextmanager
def _with_lora(vlm: VLM) -> Iterator[dict[str, nn.Parameter]]:
    """The model with random frozen LoRA; yields self-attention's LoRA weights by `ProjectedGradient`'s names."""
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=vlm.family.lora, init_lora_weights=False)
    torch.manual_seed(0)
    with injected(vlm, config) as wrapped:
        wrapped.eval().requires_grad_(False)
        named = vlm.model.named_parameters()
        yield {
            name.removesuffix(".default.weight"): weight
            for name, weight in named
            if ".lora_" in name and ".self_attn." in name
        }


@torch.no_grad()
def _gradient(loss: torch.Tensor, weights: dict[str, nn.Parameter]) -> np.ndarray:
    with torch.enable_grad():
        loss.backward()
    square, projected = torch.zeros(()), torch.zeros(FEATURE.dim)
    for name, weight in weights.items():
        square += weight.grad.square().sum()
        projected += sketch(weight.grad[None], FEATURE.dim, f"{FEATURE.seed}/{name}")[0]
        weight.grad = None
    return torch.cat([square.sqrt()[None], projected]).numpy()


if __name__ == "__main__":
    main(sys.argv[1:])
