"""Bytes on one device: weights, gradients and optimiser state exactly, activations estimated. Formulas: README.md."""

from dataclasses import asdict, dataclass

from selectmm.flops.anatomy import Anatomy, Layer
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
    """The memory that LoRA training takes.

    Args:
        size: bytes of a number of the model as it is loaded. longest: tokens of a row, padding included.
        answered: the share of its tokens that the loss is taken on.
    """
    trained = body.trained(recipe)
    # LoRA stands beside the weights, and of a tuned projector peft keeps the untuned one; full tuning changes its own.
    frozen = body.parameters - (trained if recipe.tune == "full" else 0)
    sharded = strategy.devices if strategy.kind in SHARDED else 1
    bytes_each = 4 if recipe.precision == "32-true" else 2  # of what DeepSpeed keeps, and of activations
    if strategy.kind in SHARDED:
        weights, gradients = float(bytes_each * (frozen + trained)), bytes_each * trained
        optimizer = 12 * trained  # its own float32 copy of the weights, and Adam's two moments of it
    else:
        held = {"32-true": (4, 4), "bf16-mixed": (size, 4), "bf16-true": (2, 2)}[recipe.precision]
        weights, gradients = held[0] * frozen + held[1] * trained, held[1] * trained
        optimizer = 2 * held[1] * trained
        gradients *= 2 if strategy.kind == "ddp" else 1  # DDP's buckets
    if strategy.offload:  # to main memory
        gradients = optimizer = 0
    mixed = recipe.precision == "bf16-mixed" and strategy.kind not in SHARDED
    kept = Kept(recipe.rank, recipe.dropout, bytes_each, mixed)
    tokens = recipe.rows_at_once(strategy.devices) * longest
    states = activations(body, kept, recipe.gradient_checkpointing, tokens) + logits(
        body, bytes_each, tokens * answered
    )
    states += 2 * trained if mixed else 0  # their copies in 16 bits, which the products read
    if strategy.kind == "zero3":
        states += bytes_each * (2 * max(layer.parameters for layer in body.layers) + body.head)  # gathered while in use
        weights = 0.0 if strategy.offload else weights / sharded
    return Memory(weights, gradients / sharded, optimizer / sharded, states)


@dataclass(frozen=True)
class Kept:
    """How a forward pass keeps what its backward pass reads.

    Attributes:
        rank, dropout: of LoRA. size: bytes of a number. mixed: whether autocast makes 16 bits of LoRA in float32.
        mask: bytes of a number of dropout's mask: 1 on a GPU, 4 on a CPU.
    """

    rank: int
    dropout: float
    size: int
    mixed: bool = False
    mask: int = 1


def activations(body: Anatomy, kept: Kept, checkpointing: bool, tokens: float) -> float:
    """Bytes that the decoder layers' backward passes find of ``tokens`` tokens.

    With checkpointing each layer keeps its input alone, and one layer at a time is opened again.
    """
    opened = [_opened(layer, kept) for layer in body.layers]
    states = kept.size * body.width * len(opened) + max(opened) if checkpointing else sum(opened)
    return tokens * (states + 4 * body.width)  # and what enters the last norm


def logits(body: Anatomy, size: int, answers: float) -> float:
    """Bytes of the logits of so many answer tokens: once as computed, and twice in float32."""
    return body.vocabulary * (size + 8) * answers


def _opened(layer: Layer, kept: Kept) -> float:
    """Bytes per token of a layer: what enters its norms, in float32; queries, keys, values and attention's output; the
    MLP's activation; and LoRA's inputs, which dropout and autocast copy for every matrix, and its inner states.
    """
    inputs = layer.inputs if kept.mixed or kept.dropout > 0 else layer.shared_inputs
    inner = kept.rank * layer.adapted
    masks = kept.mask * layer.inputs if kept.dropout > 0 else 0
    numbers = 2 * (layer.queries + layer.keys) + layer.curved * layer.inner + inputs + inner
    return 4 * layer.normed + kept.size * numbers + masks


def forward_memory(body: Anatomy, size: int, tokens: float) -> Memory:
    """The memory of a pass without gradients over ``tokens`` tokens: the weights, and one layer's states."""
    layer = max(body.layers, key=lambda layer: layer.inner)
    states = size * (4 * body.width + 3 * layer.queries + 3 * layer.inner) + 8 * body.width
    return Memory(weights=size * body.parameters, activations=tokens * states)


def generating_memory(body: Anatomy, size: int, tokens: float) -> Memory:
    """The memory of generation with ``tokens`` cached tokens: a pass over them, and their keys and values."""
    cache = 2 * size * sum(layer.keys for layer in body.layers) * tokens
    passing = forward_memory(body, size, tokens)
    return Memory(weights=passing.weights, activations=passing.activations + cache)


def scoring_memory(body: Anatomy, size: int, tokens: float) -> Memory:
    """The memory of lm-eval's likelihoods over ``tokens`` tokens: a pass, and the logits of all, as computed and as
    log-probabilities."""
    passing = forward_memory(body, size, tokens)
    return Memory(weights=passing.weights, activations=passing.activations + 2 * size * body.vocabulary * tokens)
