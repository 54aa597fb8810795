"""The sizes that the arithmetic needs of a model, read off its modules; shapes are enough (the meta device)."""

import re
from dataclasses import dataclass

from torch import nn

from selectmm.models.vlm import VLM

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
        last: the out of the last linear layer that carries LoRA.
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


@dataclass(frozen=True)
class Anatomy:
    """A model.

    Attributes:
        parameters: of the whole model, tied ones once.
        width: of the hidden states. vocabulary: rows of the head.
        layers: the decoder layers, first to last.
        projector: weights of its linear layers, ``projector_parameters`` all of them.
        projector_first: weights of its first linear layer, if nothing trainable precedes it: then nobody needs the
            gradient of its input; else 0.
    """

    parameters: int
    width: int
    vocabulary: int
    layers: tuple[Layer, ...]
    projector: int
    projector_parameters: int
    projector_first: int

    @property
    def head(self) -> int:
        """Weights of the head."""
        return self.width * self.vocabulary

    def lora(self, rank: int) -> int:
        """Trainable numbers of LoRA on all matched layers: [rank, in] and [out, rank] for each."""
        return rank * sum(layer.sides for layer in self.layers)

    def trained(self, rank: int, projector: bool) -> int:
        """Trainable numbers: LoRA's, and the projector's if it is tuned."""
        return self.lora(rank) + projector * self.projector_parameters


def anatomy_of(vlm: VLM) -> Anatomy:
    """Read the sizes off a model; it may be on the meta device."""
    model, projector = vlm.model, vlm.model.get_submodule(vlm.family.projector)
    first = next(module for module in projector.modules() if list(module.parameters(recurse=False)))
    linears = [module for module in projector.modules() if isinstance(module, nn.Linear)]
    return Anatomy(
        parameters=sum(weight.numel() for weight in model.parameters()),
        width=model.lm_head.in_features,
        vocabulary=model.lm_head.out_features,
        layers=tuple(_layer(vlm, index) for index in range(len(vlm.layers))),
        projector=sum(linear.weight.numel() for linear in linears),
        projector_parameters=sum(weight.numel() for weight in projector.parameters()),
        projector_first=first.weight.numel() if isinstance(first, nn.Linear) else 0,
    )


def _layer(vlm: VLM, index: int) -> Layer:
    layer, path = vlm.layers[index], f"{vlm.family.layers}.{index}"
    linears = {name: module for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
    entering = {name: module for name, module in linears.items() if name.endswith(ENTERING)}
    adapted = {name: it for name, it in linears.items() if re.fullmatch(vlm.family.lora, f"{path}.{name}")}
    size = {name.rpartition(".")[2]: module.out_features for name, module in entering.items()}
    return Layer(
        parameters=sum(weight.numel() for weight in layer.parameters()),
        weights=sum(linear.weight.numel() for linear in linears.values()),
        entering=sum(linear.weight.numel() for linear in entering.values()),
        queries=size["q_proj"],
        keys=size["k_proj"],
        inner=max(linear.out_features for linear in linears.values()),
        sides=sum(_sides(it) for it in adapted.values()),
        attention_sides=sum(_sides(it) for name, it in adapted.items() if name.startswith("self_attn.")),
        inputs=sum(it.in_features for it in adapted.values()),
        entering_inputs=sum(it.in_features for name, it in adapted.items() if name in entering),
        last=list(adapted.values())[-1].out_features if list(adapted)[-1:] == list(linears)[-1:] else 0,
    )


def _sides(linear: nn.Linear) -> int:
    return linear.in_features + linear.out_features
