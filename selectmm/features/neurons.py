"""Which neurons of the feed-forward layers an answer excites most (MAGIC's signature)."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import Place, Reads, layer_at

Activation = Literal["gated", "gate"]


@dataclass(frozen=True)
class TopNeurons:
    """The numbers of the feed-forward neurons, of some layers, that are most active over an answer's tokens on average.

    [rows, Σ top] of int32, four bytes each, ascending inside a layer.

    −1 in all places of a row without an answer token.

    Attributes:
        layers: decoder layers, from 1. top: how many neurons of each.
        depth: of the model that ``layers`` are of; in one of another depth the layers at the same share of it are read.
            None: the numbers as they are.
        activation: of a neuron: ``gated``, what enters the layer's last projection; ``gate``, what the activation
            function gives, before a gated layer multiplies it by its second projection.
    """

    layers: tuple[int, ...]
    top: tuple[int, ...]
    depth: int | None
    activation: Activation = "gated"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Feed-forward activations at the layers."""
        places = frozenset(self._places())
        return Reads(neurons=places) if self.activation == "gated" else Reads(gates=places)

    def _places(self) -> list[Place]:
        return [layer if self.depth is None else Fraction(layer, self.depth) for layer in self.layers]

    def compute(self, seen: Seen) -> torch.Tensor:
        """Neurons' numbers, [n, Σ top]."""
        answer = seen.answer_tokens
        share = (answer / answer.sum(1, keepdim=True).clamp(min=1)).unsqueeze(1).float()
        activations = seen.neurons if self.activation == "gated" else seen.gates
        parts = []
        for place, top in zip(self._places(), self.top, strict=True):
            found = activations(layer_at(place, len(seen.vlm.layers)))
            mean = torch.bmm(share, found.float()).squeeze(1)
            parts.append(mean.topk(top, dim=1).indices.sort(1).values)
        return torch.cat(parts, 1).masked_fill(~answer.any(1, keepdim=True), -1).to(torch.int32)
