"""By how much the right answer token is ahead of the best wrong one."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import Reads

NO_MARGIN = -2.0  # where no answer token is left; margins are between −1 and 1


@dataclass(frozen=True)
class AnswerMargin:
    """Mean over a row's answer tokens of p(token) − the highest p of any other, from −1 to 1; [rows], four bytes each.

    High where the model is sure of the answer, negative where it would have said something else; `NO_MARGIN` for a row
    without an answer token. The area under the margin (arXiv 2001.10528) at a single point of training, as COINCIDE's
    port of D2 computes it.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Logits of the answer tokens."""
        return Reads(answers=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """The mean margin of each row's answer tokens, [n]."""
        chances = seen.answers.logits.softmax(-1)
        targets = seen.answers.targets.unsqueeze(1)
        right = chances.gather(1, targets).squeeze(1)
        wrong = chances.scatter(1, targets, -1.0).max(1).values
        return seen.per_row(right - wrong + 1) - 1  # `Seen.per_row` marks a row without token by −1
