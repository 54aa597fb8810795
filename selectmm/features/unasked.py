"""How surprised the model is by the answers when it sees the image but not the questions."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from selectmm.features.blind import mean_losses
from selectmm.features.feature import Seen
from selectmm.features.loaded import encoded
from selectmm.models.encode import Conversation
from selectmm.models.forward import Reads
from selectmm.pool.sample import Turn


@dataclass(frozen=True)
class UnaskedLoss:
    """Mean cross-entropy over a row's answers, given its image alone, in nats; [rows], four bytes each.

    The user says nothing beside the image, and all answers, joined by spaces, are one turn: PreSel's rows without
    instruction (arXiv 2503.07591). `NO_ANSWER` for a row none of whose answers is trained on or fits within the limit.
    One forward pass of its own.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Nothing of the pass that it rides on: it makes its own."""
        return Reads(tensors=False, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean negative log-likelihood of each row's joined answers, [n]."""
        talks = [_unasked(talk) for talk in seen.conversations]
        loaded = encoded(seen.vlm, seen.loaded.units, talks, pictures=False)
        return mean_losses(seen.vlm.model, Seen(seen.vlm, loaded, Reads(), seen.limit).batch)


def _unasked(talk: Conversation) -> Conversation:
    answers = [turn for turn in talk.turns if turn.role == "assistant" and turn.trained]
    joined = Turn("assistant", " ".join(turn.text for turn in answers), trained=bool(answers))
    return replace(talk, turns=(Turn("user", ""), joined), image_turn=0, shown=())
