"""What do batched per-row gradients cost against one backward pass per row, and does memory grow with the rows?

python experiments/performance/gradients.py [--rows 128] [--batch-size 32] [--out FOLDER]

TIVE's feature: the norm of every row's LoRA gradient and its projection to 8,192 numbers, LoRA of rank 128 on every
linear layer, gradients of those in self-attention. LoRA's weights are random: a gradient takes as long anywhere.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.naive import conversations
from experiments.performance.rows import LIMIT, Rows, parser
from experiments.performance.sides import Comparison, differs, keep, measure
from selectmm.features.gradients import ProjectedGradient, sketch
from selectmm.features.store import FeatureStore
from selectmm.models.encode import Batch, encode
from selectmm.models.forward import answer_logits, inputs_of
from selectmm.models.vlm import VLM
from selectmm.tuning.adapter import injected

from peft import LoraConfig  # isort: skip  (only once selectmm has let torchvision import)

RANK = 128
FEATURE = ProjectedGradient()
ENOUGH = 1.1  # memory that is flat in the rows: what four times the rows may raise it to
Loss = Callable[[VLM, Batch], torch.Tensor]


def batched(rows: Rows) -> Callable[[], np.ndarray]:
    """Ours, through the store: images, encoding and writing included; [rows, 1 + dim]."""
    vlm, pool = rows.open_model(), rows.open_pool()

    def run() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder, _with_lora(vlm):
            store = FeatureStore(Path(folder), vlm, rows.batch_size, shard=16 * rows.batch_size, limit=LIMIT)
            return np.array(store.get(pool, [FEATURE])[FEATURE])

    return run


def one_by_one(rows: Rows, loss: Loss) -> Callable[[], np.ndarray]:
    """A backward pass per row; the same numbers, [rows, 1 + dim]."""
    vlm, pool = rows.open_model(), rows.open_pool()

    def run() -> np.ndarray:
        with _with_lora(vlm) as weights:
            for weight in weights.values():
                weight.requires_grad_(True)
            batches = (encode(vlm, [told], side="right", limit=LIMIT) for told in conversations(pool))
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
    ours, found = measure(batched, rows)
    comparisons = []
    for name, loss in (("the model's own loss", model_loss), ("loss on answer tokens alone", answers_loss)):
        theirs, expected = measure(one_by_one, rows, loss)
        comparisons.append(Comparison(what, f"{one}, {name}", ours, theirs, 2.5, differs=differs(found, expected)))
    longer, _ = measure(batched, replace(rows, times=4))
    what, flat = "batched gradients, every row four times", "every row once"
    comparisons.append(Comparison(what, flat, longer, ours, ENOUGH, at_least=False, of="grown"))
    return keep("gradients", {"rows": given.rows, "batch_size": given.batch_size, "rank": RANK}, comparisons, given.out)


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
