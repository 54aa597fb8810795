"""The sizes that the arithmetic needs of a model, read off its modules; shapes are enough (the meta device)."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from selectmm.models.vlm import VLM
from selectmm.tuning.recipe import Recipe

# The linear layers that read what enters a decoder layer; fc1 is Phi's, whose MLP runs beside attention.
ENTERING = ("q_proj", "k_proj", "v_proj", "fc1")


@dataclass(frozen=True)
class Layer:
    """A decoder layer, in numbers of weights unless said otherwise.

    Attributes:
        parameters: all of them.
        weights: of its linear layers; ``entering``: of those of them that read what enters the layer.
        queries: width of all heads' queries. keys: width of all key heads.
        inner: the widest that its linear layers put out (the MLP's).
        sides: Σ (in + out) over the linear layers that carry LoRA; ``attention_sides``: over attention's alone.
        inputs: Σ in over the same; ``entering_inputs``: over those that read what enters the layer.
        last: the out of the last linear layer, if it carries LoRA. final: weights of that layer.
        adapted: linear layers that carry LoRA. normed: Σ of the widths that its norms go over.
        curved: how many numbers of ``inner`` a backward pass needs of the MLP's activation.
        shared_inputs: Σ in over the linear layers that carry LoRA, where those that read the same numbers count once,
            and the one that reads attention's output not at all.
    """

    parameters: int
    weights: int
    entering: int
    queries: int
    keys: int
    inner: int
    sides: int
    attention_sides: int
    inputs: int
    entering_inputs: int
    last: int
    final: int
    adapted: int = 0
    normed: int = 0
    curved: int = 3
    shared_inputs: int = 0


@dataclass(frozen=True)
class Anatomy:
    """A model.

    Attributes:
        parameters: of the whole model, tied ones once; ``language_parameters``: of the language model and the head.
        width: of the hidden states. vocabulary: rows of the head.
        layers: the decoder layers, first to last.
        projector: weights of its linear layers, ``projector_parameters`` all of them.
        projector_first: weights of its first linear layer, if nothing trainable precedes it: then nobody needs the
            gradient of its input; else 0.
        projector_entry: weights of its first linear layer.
        projector_sides: Σ (in + out) over its linear layers that carry LoRA; ``projector_inputs``: in of the first.
        tower_sides: the same over the vision tower's, ``tower_weights``: their weights.
    """

    parameters: int
    language_parameters: int
    width: int
    vocabulary: int
    layers: tuple[Layer, ...]
    projector: int
    projector_parameters: int
    projector_first: int
    projector_entry: int = 0
    projector_sides: int = 0
    projector_inputs: int = 0
    tower_sides: int = 0
    tower_weights: int = 0

    @property
    def head(self) -> int:
        """Weights of the head."""
        return self.width * self.vocabulary

    def lora(self, rank: int) -> int:
        """Trainable numbers of the language model's LoRA: [rank, in] and [out, rank] for each layer."""
        return rank * sum(layer.sides for layer in self.layers)

    def trained(self, recipe: Recipe) -> int:
        """All trainable numbers of a recipe."""
        projector = self.projector_parameters if in_full(recipe) else 0
        if recipe.tune == "full":
            return self.language_parameters + projector
        return self.lora(recipe.rank) + recipe.rank * (self.projector_sides + self.tower_sides) + projector


def in_full(recipe: Recipe) -> bool:
    """Whether the projector's own weights are trained."""
    return recipe.projector_lr > 0 and recipe.projector == "full"


def anatomy_of(vlm: VLM, pattern: str | None = None) -> Anatomy:
    """Read the sizes off a model; it may be on the meta device.

    Args:
        pattern: where LoRA is (`selectmm.tuning.targets.lora_pattern`); None: the family's own.
    """
    pattern = vlm.family.lora if pattern is None else pattern
    model, projector = vlm.model, vlm.model.get_submodule(vlm.family.projector)
    first = next(module for module in projector.modules() if list(module.parameters(recurse=False)))
    linears = [module for module in projector.modules() if isinstance(module, nn.Linear)]
    adapted = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(pattern, name)
    ]
    bridge = [it for name, it in adapted if name.startswith(f"{vlm.family.projector}.")]
    tower = [it for name, it in adapted if name.startswith(f"{vlm.family.vision}.") and it not in bridge]
    language = [model.get_submodule(vlm.family.layers.rpartition(".")[0]), model.lm_head]
    return Anatomy(
        parameters=sum(weight.numel() for weight in model.parameters()),
        language_parameters=sum({id(w): w.numel() for part in language for w in part.parameters()}.values()),
        width=model.lm_head.in_features,
        vocabulary=model.lm_head.out_features,
        layers=tuple(_layer(vlm, index, pattern) for index in range(len(vlm.layers))),
        projector=sum(weights_of(linear) for linear in linears),
        projector_parameters=sum(weight.numel() for weight in projector.parameters()),
        projector_first=weights_of(first) if isinstance(first, nn.Linear) else 0,
        projector_entry=weights_of(linears[0]),
        projector_sides=sum(_sides(it) for it in bridge),
        projector_inputs=linears[0].in_features if bridge else 0,
        tower_sides=sum(_sides(it) for it in tower),
        tower_weights=sum(weights_of(it) for it in tower),
    )


def _layer(vlm: VLM, index: int, pattern: str) -> Layer:
    layer, path = vlm.layers[index], f"{vlm.family.layers}.{index}"
    linears = {name: module for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    entering = {name: module for name, module in linears.items() if name.endswith(ENTERING)}
    adapted = {name: it for name, it in linears.items() if re.fullmatch(pattern, f"{path}.{name}")}
    size = {name.rpartition(".")[2]: module.out_features for name, module in entering.items()}
    return Layer(
        parameters=sum(weight.numel() for weight in layer.parameters()),
        weights=sum(weights_of(linear) for linear in linears.values()),
        entering=sum(weights_of(linear) for linear in entering.values()),
        queries=size["q_proj"],
        keys=size["k_proj"],
        inner=max(linear.out_features for linear in linears.values()),
        sides=sum(_sides(it) for it in adapted.values()),
        attention_sides=sum(_sides(it) for name, it in adapted.items() if name.startswith("self_attn.")),
        inputs=sum(it.in_features for it in adapted.values()),
        entering_inputs=sum(it.in_features for name, it in adapted.items() if name in entering),
        last=list(adapted.values())[-1].out_features if list(adapted)[-1:] == list(linears)[-1:] else 0,
        final=weights_of(list(linears.values())[-1]),
        adapted=len(adapted),
        normed=sum(_norm(name, module, size) for name, module in layer.named_modules()),
        curved=3 if any(name.endswith("gate_proj") for name in linears) else 4,  # GELU's cubic form keeps its terms
        shared_inputs=sum({_reads(name): it.in_features for name, it in adapted.items() if _reads(name)}.values()),
    )


def weights_of(layer: nn.Linear | nn.Conv2d | nn.Conv3d) -> int:
    """How many weights a layer multiplies with: what it holds may be packed (4 bits) or on other devices (ZeRO-3)."""
    if isinstance(layer, nn.Linear):
        return layer.in_features * layer.out_features
    return layer.out_channels * layer.in_channels // layer.groups * math.prod(layer.kernel_size)


def _norm(name: str, module: Any, size: Mapping[str, int]) -> int:
    """The numbers per token that a norm goes over: the states, or the queries or keys of all heads; else 0."""
    if not type(module).__name__.endswith("Norm"):
        return 0
    return size[f"{name[-6]}_proj"] if name.endswith(("q_norm", "k_norm")) else module.weight.numel()


def _reads(name: str) -> str:
    """Which numbers a linear layer reads; empty for attention's output, which attention keeps."""
    if name.endswith(ENTERING):
        return "what enters the layer"
    if name.endswith(("gate_proj", "up_proj")):
        return "what enters the MLP"
    return "" if name.startswith("self_attn.") else name


def _sides(linear: nn.Linear) -> int:
    return linear.in_features + linear.out_features
