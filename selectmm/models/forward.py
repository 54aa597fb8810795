"""Forward passes that compute no more than what is asked for."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack, suppress
from functools import partial

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from selectmm.models.encode import IGNORED, Batch
from selectmm.models.vlm import VLM


class _Deep(Exception):
    """Raised by a hook to leave a forward pass once the deepest layer that was wanted has run."""


def hidden_after(vlm: VLM, batch: Batch, layers: Collection[int]) -> dict[int, torch.Tensor]:
    """Hidden states [n, tokens, width] after each of the decoder ``layers`` (from 1), in one forward pass.

    Layers deeper than the deepest wanted one do not run; an empty ``layers`` runs nothing.
    """
    kept: dict[int, torch.Tensor] = {}
    if not layers:
        return kept
    with ExitStack() as hooks:
        for layer in layers:
            keep = partial(_keep, kept, layer, max(layers))
            hooks.callback(vlm.layer(layer).register_forward_hook(keep).remove)
        with suppress(_Deep):
            vlm.model.model(**inputs_of(batch), use_cache=False)
    return kept


def _keep(
    kept: dict[int, torch.Tensor], layer: int, deepest: int, _module: nn.Module, _inputs: object, output: object
) -> None:
    kept[layer] = output[0] if isinstance(output, tuple) else output
    if layer == deepest:
        raise _Deep


def answer_logits(model: nn.Module, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits [m, vocabulary] for the batch's m answer tokens, their ids [m] and their rows [m].

    ``model`` is a Hugging Face conditional-generation model (or peft's wrapping of one): a ``model`` without a head,
    and an ``lm_head``. The head is most of a small model's work, so only the positions that predict an answer reach it.
    """
    hidden = model.model(**inputs_of(batch), use_cache=False).last_hidden_state
    targets = batch["labels"][:, 1:]
    predicting = targets != IGNORED
    rows = torch.arange(len(targets), device=targets.device).unsqueeze(1).expand_as(targets)
    return model.lm_head(hidden[:, :-1][predicting]), targets[predicting], rows[predicting]


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the batch's answer tokens (scalar; 0 with a gradient if there are none)."""
    logits, targets, _ = answer_logits(model, batch)
    return cross_entropy(logits.float(), targets, reduction="sum") / max(len(targets), 1)


def inputs_of(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch without its labels."""
    return {name: tensor for name, tensor in batch.items() if name != "labels"}


def to_device(batch: Batch, model: nn.Module) -> Batch:
    """The batch on the model's device, floating tensors in the model's dtype."""
    weight = next(model.parameters())
    return {k: v.to(weight.device, weight.dtype if v.is_floating_point() else None) for k, v in batch.items()}
