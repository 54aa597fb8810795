"""The image tokens that the instruction looks at (ScalSelect's representation)."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.features.states import as_kept
from selectmm.models.forward import Heads, Reads


@dataclass(frozen=True)
class AttendedStates:
    """Mean output state of a layer over the image tokens that hold most of the instruction's attention; [rows, width].

    The layer's attention is averaged over heads and instruction tokens; image tokens are taken from the most attended
    on until their share of it exceeds ``mass``. A row without an image has zeros; the
    tokens of several images are taken together. From the authors' code; only the
    instruction's rows of one layer's attention are computed.

    Attributes:
        user_mask: ``template``: the user's words are the instruction. ``everything_but_answers``: all tokens that are
            neither image nor answer, system prompt and role marks included, as in the authors' code.
        conditioning: ``all_image_tokens`` takes them all, whatever is attended to.
    """

    layer: int = 1
    mass: float = 0.9
    user_mask: Literal["template", "everything_but_answers"] = "template"
    conditioning: Literal["attended", "all_image_tokens"] = "attended"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States, queries and keys of the layer."""
        attention = {self.layer} if self.conditioning == "attended" else set()
        return Reads(layers=frozenset({self.layer}), attention=frozenset(attention))

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean state of each row's attended image tokens, [n, width]."""
        states = seen.hidden(self.layer)
        hidden = states.float()
        means = torch.zeros(len(hidden), hidden.shape[-1], device=hidden.device)
        asking = self._asking(seen)
        for row in seen.image_tokens.any(1).nonzero().flatten().tolist():
            images = seen.image_tokens[row].nonzero().flatten()
            if self.conditioning == "attended":
                asked = attention_from(seen.heads(self.layer), row, asking[row].nonzero().flatten())
                images = images[most_attended(asked[images], self.mass)]
            means[row] = hidden[row, images].mean(0)
        return as_kept(means, states)

    def _asking(self, seen: Seen) -> torch.Tensor:
        if self.user_mask == "template":
            return seen.instruction_tokens
        return seen.tokens & ~seen.image_tokens & ~seen.answer_tokens


def attention_from(heads: Heads, row: int, asking: torch.Tensor) -> torch.Tensor:
    """Causal attention of one row, mean over heads and over the ``asking`` positions [u]; [tokens] (0 if u is 0)."""
    queries, keys = heads.queries[row][:, asking].float(), heads.keys[row].float()
    keys = keys.repeat_interleave(len(queries) // len(keys), dim=0)
    if not len(asking):
        return torch.zeros(keys.shape[1], device=keys.device)
    scores = queries @ keys.transpose(1, 2) * heads.scale
    later = torch.arange(keys.shape[1], device=keys.device) > asking.unsqueeze(1)
    return scores.masked_fill(later, -torch.inf).softmax(-1).mean((0, 1))


def most_attended(attention: torch.Tensor, mass: float) -> torch.Tensor:
    """Indices of the most attended tokens up to and including the one whose cumulative share first exceeds ``mass``.

    Args:
        attention: [tokens], not negative; uniform if it sums to 0. Ties are taken by position.
    """
    total = attention.sum()
    share = attention / total if total > 0 else torch.full_like(attention, 1 / len(attention))
    order = torch.argsort(share, descending=True, stable=True)
    until = int((share[order].cumsum(0) <= mass).sum())
    return order[: until + 1]
