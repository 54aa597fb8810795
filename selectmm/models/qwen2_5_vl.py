"""Qwen2.5-VL."""

from dataclasses import replace

from transformers import Qwen2_5_VLForConditionalGeneration

from selectmm.models import qwen2_vl
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import open_pretrained
from selectmm.models.vlm import VLM

# The chat template in its own chat_template.json is Qwen2-VL's, and its modules have Qwen2-VL's names; its vision tower
# has other layers, which nothing here touches.
FAMILY = replace(qwen2_vl.FAMILY, name="qwen2_5_vl")


def load(
    path: str,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    compute: Compute = PLAIN,
) -> VLM:
    """Load from a local folder or a hub id; arguments and errors are those of `qwen2_vl.load`."""
    opened = open_pretrained(Qwen2_5_VLForConditionalGeneration, path, dtype, device, compute)
    return qwen2_vl.with_pixels(opened, FAMILY, max_pixels, min_pixels)
