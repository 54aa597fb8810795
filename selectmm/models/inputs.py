"""From a batch to what a model is given."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig

from selectmm.models.encode import Batch
from selectmm.models.queries_keys import WATCHED

NOT_FOR_THE_MODEL = {"labels", "instruction"}
_GRIDS = ("image_grid_thw", "video_grid_thw")  # inputs of the families whose rotary positions have three axes
_PIXELS = ("pixel_values", "pixel_values_videos")
_SECONDS = "second_per_grid_ts"  # between a clip's frames


def inputs_of(batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The batch without what only we read of it."""
    return {name: tensor for name, tensor in batch.items() if name not in NOT_FOR_THE_MODEL}


def right_padded(inner: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """What a model without its head is given: of a batch that is padded on the right, no mask.

    No token sees one behind it, so none sees padding, and a mask of padding changes nothing but the kernel: with it
    PyTorch's attention reads a dense mask of tokens × tokens, without it it knows that it is causal. Where rotary
    positions have three axes (M-RoPE) they are computed here, because they follow from the mask.
    """
    inputs = inputs_of(batch)
    mask = inputs.get("attention_mask")
    if mask is None or not _causal_kernel(inner.language_model.config, mask.device) or (mask.diff() > 0).any():
        return inputs  # packed; or flash attention; or padded on the left
    del inputs["attention_mask"]
    if hasattr(inner, "get_rope_index") and not inputs.keys().isdisjoint(_GRIDS):
        axes = inputs["position_ids"] if "position_ids" in inputs else _rotary_axes(inner, batch)
        along = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
        inputs["position_ids"] = torch.cat([along.unsqueeze(0), axes.to(mask.device)])
    return inputs


def placed(inner: Any, batch: Batch) -> Batch:
    """The batch, padded, with the rotary positions of its tokens where they follow from fractions of seconds.

    Those are the clips of Qwen2.5-VL. A trainer may round floating inputs to the model's dtype, and rounded seconds put
    frames that follow one another at one position; positions are whole numbers, which nothing rounds.
    """
    return {**batch, "position_ids": _rotary_axes(inner, batch)} if _SECONDS in batch else batch


def _rotary_axes(inner: Any, batch: Batch) -> torch.Tensor:
    """Rotary positions on three axes, [3, rows, tokens], by the model's own function."""
    named = ("input_ids", "mm_token_type_ids", *_GRIDS, _SECONDS, "attention_mask")
    axes, _ = inner.get_rope_index(**{name: batch[name] for name in named if name in batch})
    return axes


def _causal_kernel(body: PreTrainedConfig, device: torch.device) -> bool:
    """Whether PyTorch's attention computes, and the same without a mask as with one.

    Flash attention reads the mask as lengths, and computes no padding. On a CPU, where results are the same to the last
    digit, the kernel without a mask adds up the gradients of keys that several heads share in another order.
    """
    grouped = getattr(body, "num_key_value_heads", body.num_attention_heads) != body.num_attention_heads
    return body._attn_implementation in ("sdpa", WATCHED) and not (grouped and device.type == "cpu")


def to_device(batch: Batch, model: nn.Module) -> Batch:
    """The batch on the model's device, pixels in the model's dtype; other numbers, such as seconds, stay exact."""
    weight = next(model.parameters())
    kinds = {name: weight.dtype if name in _PIXELS else None for name in batch}
    return {name: tensor.to(weight.device, kinds[name], non_blocking=True) for name, tensor in batch.items()}
