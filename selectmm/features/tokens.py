"""Length of a row as the target model sees it."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.models.encode import Batch
from selectmm.models.vlm import VLM


@dataclass(frozen=True)
class TokenCount:
    """Tokens of the whole conversation, image tokens and template included; [rows] of int32."""

    unit: Literal["row"] = "row"
    layer: Literal[0] = 0

    def compute(self, vlm: VLM, batch: Batch, hidden: None) -> torch.Tensor:
        return batch["attention_mask"].sum(1, dtype=torch.int32)
