"""How undecided the model is while it reads the answers."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import Reads


@dataclass(frozen=True)
class AnswerEntropy:
    """Mean over a row's answer tokens of the entropy of the next token's distribution, in nats; [rows] of four bytes.

    `NO_ANSWER` for a row without an answer token.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Logits of the answer tokens."""
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """The mean entropy over each row's answer tokens, [n]."""
        logs = seen.answers.logits.log_softmax(-1)
        return seen.per_row(-(logs.exp() * logs).sum(-1))
