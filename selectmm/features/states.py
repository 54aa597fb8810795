"""Hidden states of a shallow or deep layer, pooled over tokens."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.models.encode import Batch
from selectmm.models.vlm import VLM


@dataclass(frozen=True)
class ImageStates:
    """State of the image tokens after decoder layer ``layer``; [unique images, width] of float32.

    The image stands before all text and attention is causal, so its states depend on the image alone: one forward
    pass per unique image serves every row that shows it. ``pool`` is the mean over its tokens or the last of them.
    """

    layer: int
    pool: Literal["mean", "last_token"] = "mean"
    unit: Literal["image"] = "image"

    def compute(self, vlm: VLM, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        return _pooled(hidden, batch["input_ids"] == vlm.image_token_id, self.pool)


@dataclass(frozen=True)
class JointStates:
    """State of all tokens of the conversation, image and text, after decoder layer ``layer``; [rows, width]."""

    layer: int
    pool: Literal["mean", "last_token"] = "mean"
    unit: Literal["row"] = "row"

    def compute(self, vlm: VLM, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        return _pooled(hidden, batch["attention_mask"].bool(), self.pool)


def _pooled(hidden: torch.Tensor, wanted: torch.Tensor, pool: str) -> torch.Tensor:
    """Mean over the wanted tokens [n, tokens] of hidden [n, tokens, width], or the last wanted one; [n, width]."""
    if pool == "mean":
        weight = wanted.unsqueeze(-1).to(torch.float32)
        return (hidden.float() * weight).sum(1) / weight.sum(1)
    last = (wanted * torch.arange(wanted.shape[1], device=wanted.device)).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
