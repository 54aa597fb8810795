"""What does a dense mask of padding cost a training step on rows that are padded on the right?

python experiments/performance/mask.py [--tokens 768] [--steps 5] [--out FOLDER]

A LLaVA whose language model has four layers of width 512, with random weights: loss and gradients of eight rows of
different lengths, as `selectmm.models.inputs` gives them to the model (without a mask, so that PyTorch's attention is
causal by itself) and with the mask. No images, whose part is the same.
"""

import sys
from argparse import ArgumentDefaultsHelpFormatter, ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

# Run as a script, Python would look beside this file alone.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from experiments.performance.floor import Floor, Part, products
from experiments.performance.gpu_step import random_llava
from experiments.performance.sides import Comparison, Side, differs, keep, measure
from selectmm.flops.anatomy import anatomy_of
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.inputs import inputs_of, right_padded
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn

from transformers import CLIPVisionConfig, LlamaConfig  # isort: skip

ROWS = 8
Given = Callable[[torch.nn.Module, Batch], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Sizes:
    """Of the rows (the longest has ``tokens``), of the language model, and how often it is done."""

    tokens: int
    steps: int
    width: int = 512
    layers: int = 4


def with_mask(_model: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """What the processor gives."""
    return inputs_of(batch)


def steps(sizes: Sizes, given: Given) -> Callable[[], np.ndarray]:
    """Forward and backward, ``sizes.steps`` times; the loss and every gradient's norm, [1 + weights]."""
    vlm = _model(sizes)
    batch = rows(vlm, sizes.tokens)
    weights = list(vlm.model.model.language_model.layers.parameters())
    for weight in weights:
        weight.requires_grad_(True)

    def run() -> np.ndarray:
        for _ in range(sizes.steps):
            last = vlm.model.model(**given(vlm.model.model, batch), use_cache=False).last_hidden_state
            loss = last[batch["attention_mask"].bool()].square().mean()
            gradients = torch.autograd.grad(loss, weights)
        return torch.stack([loss.detach(), *(gradient.norm() for gradient in gradients)]).numpy()

    return run


def rows(vlm: VLM, tokens: int) -> Batch:
    """Eight rows without images, the shortest a third of the longest."""
    lengths = np.linspace(tokens // 3, tokens, ROWS).astype(int) - 200  # the template's own words
    talks = [Conversation((Turn("user", "x" * int(n)), Turn("assistant", "yes"))) for n in lengths]
    return encode(vlm, talks, side="right", limit=tokens)


def _model(sizes: Sizes) -> VLM:
    torch.manual_seed(0)
    body = LlamaConfig(
        vocab_size=320, hidden_size=sizes.width, intermediate_size=2 * sizes.width, num_hidden_layers=sizes.layers,
        num_attention_heads=8, max_position_embeddings=4096,
    )  # fmt: skip
    tower = CLIPVisionConfig(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    vlm = random_llava(body, tower, torch.device("cpu"))
    vlm.model.float()
    return vlm


def main(arguments: list[str]) -> Path:
    """Measure and keep; returns the record's path."""
    made = ArgumentParser(description=__doc__.splitlines()[0], formatter_class=ArgumentDefaultsHelpFormatter)
    made.add_argument("--tokens", type=int, default=768, help="of the longest row")
    made.add_argument("--steps", type=int, default=5)
    made.add_argument("--out", type=Path, default=Path("outputs/performance"))
    given = made.parse_args(arguments)
    sizes = Sizes(given.tokens, given.steps)
    (ours, found), (theirs, expected) = measure(steps, sizes, right_padded), measure(steps, sizes, with_mask)
    what = "loss and gradients of right-padded rows, no mask"
    compared = Comparison(what, "a dense mask", ours, theirs, None, differs=differs(found, expected))
    settings = {"tokens": given.tokens, "steps": given.steps, "rows": ROWS}
    return keep("mask", settings, [compared], given.out, floors=[floors(sizes, what, ours).record()])


def floors(sizes: Sizes, what: str, ours: Side) -> Floor:
    """FLOPs of the steps over tokens that are not padding.

    Forward is 2 FLOP a weight and token, backward twice that. Attention looks back alone: 2·T²·width a layer and row
    forward, twice that backward.
    """
    vlm = _model(sizes)
    lengths = rows(vlm, sizes.tokens)["attention_mask"].sum(1).double()
    layers = anatomy_of(vlm).layers
    weights = sum(6 * layer.weights for layer in layers)
    attention = sum(6 * layer.queries for layer in layers)
    flops = sizes.steps * float(weights * lengths.sum() + attention * lengths.square().sum())
    rate = products(ROWS * sizes.tokens, sizes.width, layers[0].inner)
    return Floor(what, ours.seconds, (Part("forward and backward of all tokens but padding", flops, "FLOP", rate),))


if __name__ == "__main__":
    main(sys.argv[1:])
