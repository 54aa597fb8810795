"""FLOPs of what the line does to rows, a multiplication and an addition counted as two. Formulas: README.md.

All are linear in a few sums over rows (`Load`), so that a sample of rows speaks for the rest.
"""

from dataclasses import dataclass, fields, replace

from selectmm.flops.anatomy import Anatomy, in_full
from selectmm.tuning.recipe import Recipe


@dataclass(frozen=True)
class Load:
    """Rows, as far as their cost goes: sums over them, but for ``longest``.

    Attributes:
        rows: how many. tokens: Σ T, image tokens included, after the cut. squares: Σ T².
        image_tokens: those of images and clips among them. answers: tokens that the loss is taken on.
        projected: what the projector puts out, of which LLaVA-OneVision leaves out, interpolates and pools some.
        tower: FLOPs of the vision tower (`selectmm.flops.tower`).
        longest: the most tokens of a row.
    """

    rows: float = 0
    tokens: float = 0
    squares: float = 0
    image_tokens: float = 0
    answers: float = 0
    tower: float = 0
    longest: int = 0
    projected: float = 0

    def __add__(self, other: "Load") -> "Load":
        sums = {f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        return Load(**sums | {"longest": max(self.longest, other.longest)})

    def as_many_as(self, rows: float) -> "Load":
        """The load of so many rows of this kind."""
        if self.rows == 0:
            return self
        factor = rows / self.rows
        sums = {f.name: getattr(self, f.name) * factor for f in fields(self) if f.name != "longest"}
        return replace(self, **sums)


def forward(body: Anatomy, load: Load, depth: int | None = None, head: bool = True, rank: int = 0) -> float:
    """Image, projector, decoder layers up to ``depth`` (None: all, and the head on the positions before answers).

    ``rank``: of LoRA carried beside the weights; 0 for none.
    """
    seen = load.tower + 2 * body.projector * load.projected
    to_the_end = head and depth is None
    return seen + decoder(body, load, depth, rank) + (2 * body.head * load.answers if to_the_end else 0)


def decoder(body: Anatomy, load: Load, depth: int | None = None, rank: int = 0) -> float:
    """The decoder layers: 2 per weight and token, 4·queries·T² for attention (all of it, not the causal half)."""
    layers = body.layers[:depth]
    linear = sum(2 * (layer.weights + rank * layer.sides) for layer in layers) * load.tokens
    return linear + sum(4 * layer.queries for layer in layers) * load.squares


def training(body: Anatomy, load: Load, recipe: Recipe) -> float:
    """Forward and backward of a recipe's training; see README.md for every term."""
    full, rank = recipe.tune == "full", 0 if recipe.tune == "full" else recipe.rank
    total = forward(body, load, rank=rank) + _inputs(body, load, rank, full or recipe.images_teach)
    total += 2 * body.lora(rank) * load.tokens  # gradients of the LoRA matrices themselves
    if full:  # of all weights
        total += sum(2 * layer.weights for layer in body.layers) * load.tokens + 2 * body.head * load.answers
    total += _projector(body, load, recipe) + _tower(body, load, recipe)
    if recipe.gradient_checkpointing:  # the last product of a layer is not needed again
        spared = sum(2 * (rank * layer.last if layer.last and not full else layer.final) for layer in body.layers)
        total += decoder(body, load, rank=rank) - spared * load.tokens
    return total


def _projector(body: Anatomy, load: Load, recipe: Recipe) -> float:
    """What training costs in the projector beyond its forward pass, which LoRA makes longer."""
    if not recipe.images_teach:
        return 0
    entered = recipe.vision_lr > 0  # its input needs a gradient
    inputs = 2 * (body.projector - (0 if entered else body.projector_first))
    if in_full(recipe):  # a norm before its first layer is trained too
        return (inputs + 2 * body.projector) * load.projected
    own = 2 * recipe.rank * body.projector_sides
    if not entered and recipe.projector_lr > 0:  # LoRA: nothing before the first linear layer is trained
        inputs = 2 * (body.projector - body.projector_entry)
    spared = 0 if entered else 2 * recipe.rank * body.projector_inputs
    return (inputs + 3 * own - spared) * load.projected


def _tower(body: Anatomy, load: Load, recipe: Recipe) -> float:
    """LoRA in the vision tower, approximately: its pass once more for activations' gradients, LoRA's three products,
    and with checkpointing the whole pass again."""
    if recipe.vision_lr == 0:
        return 0
    lora = recipe.rank * body.tower_sides / body.tower_weights * load.tower
    return load.tower + 3 * lora + recipe.gradient_checkpointing * (load.tower + lora)


def row_gradients(body: Anatomy, load: Load, rank: int, all_linear: bool) -> float:
    """Forward, backward through frozen weights, and every row's gradient of the LoRA matrices in a scope."""
    sides = sum(layer.sides if all_linear else layer.attention_sides for layer in body.layers)
    return forward(body, load, rank=rank) + _inputs(body, load, rank, False) + 2 * rank * sides * load.tokens


def _inputs(body: Anatomy, load: Load, rank: int, embedded: bool) -> float:
    """Gradients with respect to activations: the forward's matrix products once more, attention's twice.

    ``embedded``: whether what enters the first layer needs a gradient, which the projector before it would.
    """
    linear = sum(2 * (layer.weights + rank * layer.sides) for layer in body.layers)
    attention = sum(8 * layer.queries for layer in body.layers)
    first = body.layers[0]
    spared = 0 if embedded else 2 * (first.entering + rank * first.entering_inputs)
    return (linear - spared) * load.tokens + attention * load.squares + 2 * body.head * load.answers
