"""How much, and how pointedly, the answers look at the image (MAGIC's grounding)."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import EVERY_LAYER, Heads, Reads


@dataclass(frozen=True)
class AnswerLook:
    """Mean over decoder layers and answer tokens of (Σ_v A_tv) · (1 − e_t / log N); [rows] of float32.

    A is the attention of answer token t to image token v, mean over heads, N the number of image tokens, and e_t the
    entropy of A_t over them, scaled to sum to 1: an answer that looks at a single image token and nowhere else scores
    1, one that looks at all alike 0. The tokens of several images are taken together.
    From MAGIC (arXiv 2605.26004), whose code is not released. 0 for a row without
    image or without an answer token. With a single image token the second factor is 1.

    Queries and keys of all layers are in memory until a batch is done: 4 · width bytes a token and layer in half
    precision.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Queries and keys of every layer."""
        return Reads(attention=EVERY_LAYER)

    def compute(self, seen: Seen) -> torch.Tensor:
        """One number per row, [n]."""
        found = torch.zeros(len(seen), device=seen.tokens.device)
        depth = len(seen.vlm.layers)
        for row in (seen.image_tokens.any(1) & seen.answer_tokens.any(1)).nonzero().flatten().tolist():
            image, answer = (which[row].nonzero().flatten() for which in (seen.image_tokens, seen.answer_tokens))
            looks = [_look(_attention(seen.heads(layer), row, answer)[:, image]) for layer in range(1, depth + 1)]
            found[row] = torch.stack(looks).mean()
        return found


def _attention(heads: Heads, row: int, asking: torch.Tensor) -> torch.Tensor:
    """Causal attention of the ``asking`` positions [u] of one row, mean over heads; [u, tokens]."""
    queries, keys = heads.queries[row][:, asking].float(), heads.keys[row].float()
    keys = keys.repeat_interleave(len(queries) // len(keys), dim=0)
    later = torch.arange(keys.shape[1], device=keys.device) > asking.unsqueeze(1)
    return (queries @ keys.transpose(1, 2) * heads.scale).masked_fill(later, -torch.inf).softmax(-1).mean(0)


def _look(attention: torch.Tensor) -> torch.Tensor:
    """Mean over answer tokens of mass and pointedness; ``attention`` is theirs to the image's tokens, [u, N]."""
    mass = attention.sum(1)
    if attention.shape[1] == 1:
        return mass.mean()
    share = attention / mass.clamp(min=torch.finfo(mass.dtype).tiny).unsqueeze(1)
    entropy = -torch.xlogy(share, share).sum(1)
    return (mass * (1 - entropy / math.log(attention.shape[1]))).mean()
