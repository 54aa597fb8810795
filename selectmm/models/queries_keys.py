"""Queries and keys of some decoder layers, seen on the way through a forward pass."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

WATCHED = "selectmm_watched"  # the name of the attention function, while it is plugged in

Note = Callable[[int, torch.Tensor, torch.Tensor, float], None]
"""Takes a layer's number, its queries [n, heads, tokens, channels], its keys [n, key heads, tokens, channels], and the
scale of their products."""


@contextmanager
def watched(attentions: Mapping[nn.Module, int], note: Note) -> Iterator[None]:
    """Hand queries and keys to ``note`` inside the block, after position encoding; attention itself stays PyTorch's
    fused kernel.

    This is transformers' own way to plug in an attention function, so it is the same for every family, and no layer's
    attention matrix is ever built.

    Args:
        attentions: the self-attention blocks of the layers that are wanted, of one model, with the layers' numbers; at
            least one.
    """

    def attend(
        module: Any, query: torch.Tensor, key: torch.Tensor, *others: Any, **named: Any
    ) -> tuple[torch.Tensor, None]:
        if module in attentions:
            note(attentions[module], query, key, float(module.scaling))
        return sdpa_attention_forward(module, query, key, *others, **named)

    config: Any = next(iter(attentions)).config
    before = config._attn_implementation
    AttentionInterface.register(WATCHED, attend)
    AttentionMaskInterface.register(WATCHED, sdpa_mask)
    config._attn_implementation = WATCHED
    try:
        yield
    finally:
        config._attn_implementation = before
