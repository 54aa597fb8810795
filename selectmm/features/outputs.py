"""What attention adds to the residual stream, for image and text (COINCIDE's representation)."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch.nn.functional import normalize

from selectmm.features.feature import Seen
from selectmm.features.states import as_kept
from selectmm.models.forward import Place, Reads, layer_at


@dataclass(frozen=True)
class AttentionOutputs:
    """Mean outputs of self-attention's last projection at some layers, over the image's tokens and over those after it.

    [rows, 2 · layers · width]: first the image's means of all layers, then the text's. Each mean goes through tanh and
    is scaled to length 1, and the whole is scaled to length 1 again. The text is every token after the image:
    questions, role marks and answers. Several images are taken together, and the
    text is what follows the last of them. A row without image has zeros in the first half, and all its tokens are text.
    From COINCIDE's released code (arXiv 2406.10995).

    In float16 of a half-precision model: 20 · width bytes a row with five layers, 27 GB for LLaVA-665K at 2,048
    channels and 54 GB at 4,096.

    Attributes:
        layers: decoder layers, from 1.
        depth: of the model that ``layers`` are of: in one of another depth the layers at the same share of it are
            read, each once. None: the numbers as they are.
    """

    layers: tuple[int, ...]
    depth: int | None
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Attention's outputs at the layers."""
        return Reads(outputs=frozenset(self._places()))

    def _places(self) -> list[Place]:
        return [layer if self.depth is None else Fraction(layer, self.depth) for layer in self.layers]

    def compute(self, seen: Seen) -> torch.Tensor:
        """Unit vectors of a batch, [n, 2 · layers · width]."""
        image = seen.image_tokens
        after = image.flip(1).cumsum(1).flip(1) == 0  # no image token here or later
        means = []
        layers = sorted({layer_at(place, len(seen.vlm.layers)) for place in self._places()})
        for wanted in (image, seen.tokens & after):
            share = (wanted / wanted.sum(1, keepdim=True).clamp(min=1)).unsqueeze(1)
            for layer in layers:
                mean = torch.bmm(share.float(), seen.outputs(layer).float()).squeeze(1)
                means.append(normalize(mean.tanh(), dim=1))
        return as_kept(normalize(torch.cat(means, 1), dim=1), seen.outputs(layers[0]))
