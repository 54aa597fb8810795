"""How strongly the words after an image attend to it in all layers together (XMAS' number for a row)."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import EVERY_LAYER, Reads


@dataclass(frozen=True)
class ImageCoupling:
    """Sum of the largest singular values of Σ over layers of softmax(Q Kᵀ / √d), words after the image × its tokens.

    [rows] of float32, four bytes each; 0 for a row without image. Q and K are the outputs of the query and key
    projections over their full width d: no heads, no positions, no causal mask; each token's softmax is over all tokens
    of its row. Where keys have fewer heads than queries, each head is repeated for its group (XMAS' code repeats each
    channel, which pairs channels of different heads). From XMAS' released code, where padding takes part and places are
    fixed numbers of LLaVA's.

    Queries and keys of all layers are in memory until a batch is done: 4 · width bytes a token and layer in half
    precision.

    Attributes:
        values: how many of the largest.
    """

    values: int = 5
    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Projected queries and keys of every layer."""
        return Reads(projections=EVERY_LAYER)

    def compute(self, seen: Seen) -> torch.Tensor:
        """One number per row, [n]."""
        found = torch.zeros(len(seen), device=seen.tokens.device)
        after = seen.image_tokens.flip(1).cumsum(1).flip(1) == 0  # no image token here or later
        words = seen.tokens & after & seen.image_tokens.any(1, keepdim=True)
        for row in words.any(1).nonzero().flatten().tolist():
            real = seen.tokens[row]
            image, asking = (which[row][real] for which in (seen.image_tokens, words))
            total = torch.zeros(int(asking.sum()), int(image.sum()), dtype=torch.float64, device=found.device)
            for layer in range(1, len(seen.vlm.layers) + 1):
                queries, keys = (one[row][real].float() for one in seen.projected(layer))
                total += _attention(queries[asking], keys, seen.vlm.layer(layer).self_attn.head_dim)[:, image]
            found[row] = torch.linalg.svdvals(total)[: self.values].sum()
        return found


def _attention(queries: torch.Tensor, keys: torch.Tensor, channels: int) -> torch.Tensor:
    """softmax(Q Kᵀ / √d) of queries [u, d] and keys [t, d or less], [u, t]; keys are repeated for groups of heads."""
    times = queries.shape[1] // keys.shape[1]
    if times > 1:
        keys = keys.unflatten(1, (-1, channels)).repeat_interleave(times, dim=1).flatten(1)
    return (queries @ keys.T / queries.shape[1] ** 0.5).softmax(-1).double()
