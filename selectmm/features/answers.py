"""How surprised the model is by the answers."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn.functional import cross_entropy

from selectmm.features.feature import Seen
from selectmm.models.forward import Reads


@dataclass(frozen=True)
class AnswerLoss:
    """Mean cross-entropy over a row's answer tokens, in nats; [rows], `NO_ANSWER` where none is left.

    ``view``: the answers after image and questions (``conversation``), or by themselves (``answer``): the same
    template with image and user's turns left out.
    """

    view: Literal["conversation", "answer"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Logits of the answer tokens."""
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean negative log-likelihood of each row's answer tokens, [n]."""
        return seen.per_row(cross_entropy(seen.answers.logits, seen.answers.targets, reduction="none"))


@dataclass(frozen=True)
class AnswerError:
    """Mean over a row's answer tokens of ‖softmax − one-hot‖₂, from 0 to √2; [rows], `NO_ANSWER` where none is left.

    The EL2N score of Paul, Ganguli and Dziugaite (arXiv 2107.07075, definition 2.2), token by token.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Logits of the answer tokens."""
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean distance of the softmax from the one-hot truth over each row's answer tokens, [n]."""
        error = seen.answers.logits.softmax(-1)
        error[torch.arange(len(error), device=error.device), seen.answers.targets] -= 1
        return seen.per_row(error.norm(dim=-1))
