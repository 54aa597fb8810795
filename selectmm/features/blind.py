"""How surprised the model is by the answers when the image is taken away."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from selectmm.features.feature import NO_ANSWER, Seen
from selectmm.features.loaded import encoded
from selectmm.models.encode import IGNORED, Batch
from selectmm.models.forward import Reads
from selectmm.models.losses import answer_logits

Removal = Literal["drop", "mask"]


@dataclass(frozen=True)
class BlindLoss:
    """Mean cross-entropy over a row's answer tokens without its images, all of them, in nats; [rows], four bytes each.

    0 for a row without image, which has none to lose: its loss is `AnswerLoss`'s. `NO_ANSWER` for a row with an image
    whose answers do not fit within the limit. It is taken over the same answer tokens as the loss with the image, also
    where the limit cuts a row. One forward pass of its own, over the rows that have an image.

    Attributes:
        removal: ``drop``: the conversation is written without the image's place, as DICS does. ``mask``: the image's
            tokens become padding that nobody attends to, as VisNec does, so that words keep their positions (not in the
            Qwen families, which count an image's positions otherwise).
    """

    removal: Removal = "drop"
    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Nothing of the pass that it rides on: it makes its own."""
        return Reads(pictures=self.removal == "drop")

    def compute(self, seen: Seen) -> torch.Tensor:
        """Mean negative log-likelihood of each row's answer tokens without the image, [n]."""
        losses = torch.zeros(len(seen), device=seen.tokens.device)
        shown = seen.image_tokens.any(1).nonzero().flatten()
        if len(shown):
            losses[shown] = mean_losses(seen.vlm.model, without_image(seen, shown, self.removal))
        return losses


def without_image(seen: Seen, shown: torch.Tensor, removal: Removal) -> Batch:
    """The rows ``shown`` without their image, with as many answer tokens as they have with it."""
    return _without(seen, shown) if removal == "drop" else _masked(seen, shown)


def _without(seen: Seen, shown: torch.Tensor) -> Batch:
    """The rows ``shown`` written without image, with as many answer tokens as they have with it."""
    talks = [replace(seen.conversations[row], images=(), image_turn=0, shown=()) for row in shown.tolist()]
    loaded = encoded(seen.vlm, shown.tolist(), talks, pictures=False)
    batch = dict(Seen(seen.vlm, loaded, Reads(), seen.limit).batch)
    answered = batch["labels"] != IGNORED
    beyond = answered.cumsum(1) > seen.answer_tokens[shown].sum(1, keepdim=True)
    batch["labels"] = batch["labels"].masked_fill(beyond, IGNORED)
    return batch


def _masked(seen: Seen, shown: torch.Tensor) -> Batch:
    """The rows ``shown`` with padding, which nobody attends to, in the image's places."""
    image = seen.image_tokens[shown]
    shape = seen.tokens.shape  # pixel tensors and grids have other shapes, and are what is taken away
    batch = {name: tensor[shown] for name, tensor in seen.batch.items() if tensor.shape == shape}
    batch["input_ids"] = batch["input_ids"].masked_fill(image, seen.vlm.processor.tokenizer.pad_token_id)
    batch["attention_mask"] = batch["attention_mask"].masked_fill(image, 0)
    if "mm_token_type_ids" in batch:  # Qwen's: which tokens are an image's
        batch["mm_token_type_ids"] = torch.zeros_like(batch["mm_token_type_ids"])
    return batch


def mean_losses(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over each row's answer tokens, [n]; `NO_ANSWER` for a row without any."""
    logits, targets, rows = answer_logits(model, batch)
    losses = cross_entropy(logits.float(), targets, reduction="none")
    counts = torch.bincount(rows, minlength=len(batch["input_ids"]))
    sums = torch.zeros(len(counts), device=losses.device).index_add_(0, rows, losses)
    return torch.where(counts > 0, sums / counts.clamp(min=1), NO_ANSWER)
