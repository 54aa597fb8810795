"""Hidden states of a layer, pooled over tokens."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.models.forward import LAST, Reads

Pooling = Literal["mean", "last_token"]


@dataclass(frozen=True)
class ImageStates:
    """State of the image tokens after decoder layer ``layer``; [unique images, width].

    An image is seen alone: where it stands before all text and attention is causal, that is what every row sees that
    shows it. In a row with several images each is seen alone, and what they are together is the method's to say; one
    that a row shows after words is seen as if it came first. ``pool`` is the mean over its tokens or the last of them;
    layer 0 is the output of the projector.
    """

    layer: int
    pool: Pooling = "mean"
    view: Literal["image"] = "image"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States of the layer."""
        return Reads(layers=frozenset({self.layer}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """One pooled state per image, [n, width]."""
        return _pooled(seen.hidden(self.layer), seen.image_tokens, self.pool)


@dataclass(frozen=True)
class JointStates:
    """State of all tokens of the conversation, image and text, after decoder layer ``layer``; [rows, width]."""

    layer: int
    pool: Pooling = "mean"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States of the layer."""
        return Reads(layers=frozenset({self.layer}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """One pooled state per conversation, [n, width]."""
        return _pooled(seen.hidden(self.layer), seen.tokens, self.pool)


@dataclass(frozen=True)
class TextStates:
    """Mean state of the ``question`` (the user's words of all turns) or the ``answer`` tokens; [rows, width].

    Layer 0 is the token embeddings, which know nothing of the image. A row without such a token has zeros.
    """

    part: Literal["question", "answer"]
    layer: int
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States of the layer."""
        return Reads(layers=frozenset({self.layer}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean state of each row's question or answer tokens, [n, width]."""
        wanted = seen.instruction_tokens if self.part == "question" else seen.answer_tokens
        return _pooled(seen.hidden(self.layer), wanted, "mean")


@dataclass(frozen=True)
class WeightedStates:
    """States that the head reads, averaged with a weight that grows with the position (1, 2, 3, …); [rows, width].

    Ivison et al., Large-Scale Data Selection for Instruction Tuning (arXiv 2503.01807), the embedding of RDS+.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """The normed states after the last layer."""
        return Reads(layers=frozenset({LAST}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """Position-weighted mean of each row's states, [n, width]."""
        weight = seen.tokens * torch.arange(1, seen.tokens.shape[1] + 1, device=seen.tokens.device)
        return _weighted(seen.hidden(LAST), weight)


def _pooled(hidden: torch.Tensor, wanted: torch.Tensor, pool: Pooling) -> torch.Tensor:
    """Mean over the wanted tokens [n, tokens] of hidden [n, tokens, width], or the last wanted one; [n, width]."""
    if pool == "mean":
        return _weighted(hidden, wanted)
    last = (wanted * torch.arange(wanted.shape[1], device=wanted.device)).argmax(1)
    return as_kept(hidden[torch.arange(len(hidden), device=hidden.device), last], hidden)


def _weighted(hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean of hidden [n, tokens, width] under weights [n, tokens], zeros where all weights are; [n, width]."""
    share = weight / weight.sum(1, keepdim=True).clamp(min=1)
    return as_kept(torch.bmm(share.unsqueeze(1).float(), hidden.float()).squeeze(1), hidden)


def as_kept(pooled: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """In float32 if the states are, else in float16: it holds what a half-precision model computes at half the size."""
    return pooled.to(torch.float32 if hidden.dtype == torch.float32 else torch.float16)
