"""Length of a row as the target model sees it."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import Reads


@dataclass(frozen=True)
class TokenCount:
    """Tokens of the whole conversation, image tokens and template included; [rows] of int32."""

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Nothing: text is tokenised, and an image's tokens follow from its size."""
        return Reads(tensors=False)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Tokens of each conversation before it is cut, [n]."""
        return seen.lengths.to(torch.int32)
