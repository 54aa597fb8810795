"""The loss of answer tokens: the output head is most of a small model's work, so it only reads what predicts one."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from selectmm.models.encode import IGNORED, Batch
from selectmm.models.inputs import right_padded


def answer_logits(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [m, vocabulary] for the batch's m answer tokens, their ids [m] and their rows [m].

    ``model`` is a Hugging Face conditional-generation model (or peft's wrapping of one): a ``model`` without a head,
    and an ``lm_head``.
    """
    states, targets, rows = answer_states(model, batch)
    return model.lm_head(states), targets, rows


def answer_states(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the head reads for `answer_logits`, [m, width]; and the ids and rows."""
    return answering(model.model(**right_padded(model.model, batch), use_cache=False).last_hidden_state, batch)


def answering(hidden: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of states [n, tokens, width] the m that predict an answer token [m, width], the tokens' ids [m] and rows [m]."""
    targets = batch["labels"][:, 1:]
    predicting = targets != IGNORED
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(1).expand_as(targets)
    return hidden[:, :-1][predicting], targets[predicting], rows[predicting]


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the batch's answer tokens (scalar; 0 with a gradient if there are none)."""
    logits, targets, _ = answer_logits(model, batch)
    return cross_entropy(logits.float(), targets, reduction="sum") / max(len(targets), 1)


def weighted_loss(model: nn.Module, batch: Batch, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`answer_loss` with every token's cross-entropy multiplied by its row's weight, and each row's own mean loss.

    Args:
        weights: [rows], without those of blank rows at the end, which have no answer.

    Returns:
        A scalar, the sum divided by the number of answer tokens, whatever the weights; and [rows], detached and without
        weights, NaN for a row without an answer token.
    """
    logits, targets, rows = answer_logits(model, batch)
    losses = cross_entropy(logits.float(), targets, reduction="none")
    own = losses.detach()
    sums = torch.zeros(len(weights), dtype=own.dtype, device=own.device).index_add_(0, rows, own)
    return (losses * weights[rows]).sum() / max(len(targets), 1), sums / torch.bincount(rows, minlength=len(weights))
