"""Bytes on one device: weights, gradients and optimiser state exactly, activations estimated. Formulas: README.md."""

from dataclasses import asdict, dataclass

from selectmm.planning.anatomy import Anatomy, Layer
from selectmm.tuning.recipe import Recipe, Strategy

SHARDED = {"zero2", "zero3"}


@dataclass(frozen=True)
class Memory:
    """Bytes on one device; ``activations`` is an estimate (states, logits, cache and gathered weights), the rest is
    what the tensors take. The CUDA context (about a gigabyte) and fragmentation come on top."""

    weights: float
    gradients: float = 0
    optimizer: float = 0
    activations: float = 0

    @property
    def total(self) -> float:
        """All of them together."""
        return sum(asdict(self).values())


def training_memory(
    body: Anatomy, recipe: Recipe, strategy: Strategy, size: int, longest: int, answered: float = 0.5
) -> Memory:
    """Of LoRA training.

    Args:
        size: bytes of a number of the model as it is loaded. longest: tokens of a row, padding included.
        answered: the share of its tokens that the loss is taken on.
    """
    trained = body.trained(recipe)
    # LoRA stands beside the weights, and of a tuned projector peft keeps the untuned one; full tuning changes its own.
    frozen = body.parameters - (trained if recipe.tune == "full" else 0)
    sharded = strategy.devices if strategy.kind in SHARDED else 1
    whole = 4 if recipe.precision == "32-true" else 2  # of what DeepSpeed keeps, and of activations
    if strategy.kind in SHARDED:
        weights, gradients = float(whole * (frozen + trained)), whole * trained
        optimizer = 12 * trained  # its own float32 copy of the weights, and Adam's two moments of it
    else:
        kept = {"32-true": (4, 4), "bf16-mixed": (size, 4), "bf16-true": (2, 2)}[recipe.precision]
        weights, gradients = kept[0] * frozen + kept[1] * trained, kept[1] * trained
        optimizer = 2 * kept[1] * trained
        gradients *= 2 if strategy.kind == "ddp" else 1  # DDP's buckets
    if strategy.offload:  # to main memory
        gradients = optimizer = 0
    states = activations(
        body, recipe.rank, recipe.dropout, recipe.gradient_checkpointing, whole, recipe.micro_batch * longest, answered
    )
    if strategy.kind == "zero3":
        states += whole * (2 * max(layer.parameters for layer in body.layers) + body.head)  # gathered while in use
        weights = 0.0 if strategy.offload else weights / sharded
    return Memory(weights, gradients / sharded, optimizer / sharded, states)


def activations(
    body: Anatomy, rank: int, dropout: float, checkpointing: bool, size: int, tokens: float, answered: float
) -> float:
    """What a backward pass finds of ``tokens`` tokens, in numbers of ``size`` bytes: an estimate.

    With checkpointing each layer keeps its input alone, and one layer at a time is opened again. Logits of the answers
    lie there once as computed and twice in float32.
    """
    opened = [_opened(body, layer, rank, dropout, size) for layer in body.layers]
    if checkpointing:
        states = size * body.width * len(opened) + max(opened)
    else:
        states = sum(opened)
    return tokens * (states + body.vocabulary * (size + 8) * answered)


def _opened(body: Anatomy, layer: Layer, rank: int, dropout: float, size: int) -> float:
    """Bytes per token of a layer: two norms in float32, attention's and the MLP's operands, LoRA's inputs."""
    norms = 2 * (4 + size) * body.width
    attention = size * (3 * layer.queries + 4 * layer.keys + body.width)
    mlp = size * (4 * layer.inner + body.width)
    dropped = layer.inputs if dropout > 0 else 0
    return norms + attention + mlp + size * (7 * rank + dropped) + dropped


def forward_memory(body: Anatomy, size: int, tokens: float) -> Memory:
    """Of a pass without gradients over ``tokens`` tokens: the weights, and one layer's states."""
    layer = max(body.layers, key=lambda layer: layer.inner)
    states = size * (4 * body.width + 3 * layer.queries + 3 * layer.inner) + 8 * body.width
    return Memory(weights=size * body.parameters, activations=tokens * states)


def generating_memory(body: Anatomy, size: int, tokens: float) -> Memory:
    """Of generation with ``tokens`` tokens in the cache: a pass over them, and their keys and values."""
    cache = 2 * size * sum(layer.keys for layer in body.layers) * tokens
    passing = forward_memory(body, size, tokens)
    return Memory(weights=passing.weights, activations=passing.activations + cache)
