"""Qwen3-VL (Instruct; the Thinking models have another template).

It is the one family whose image does not enter at the first layer alone: after each of the first decoder layers (three
in the published sizes), features of another depth of the vision tower are added to the image tokens (DeepStack, arXiv
2406.04334). The state of layer k is what the layer itself puts out, as Hugging Face reports it: what is added after it
is part of layer k + 1's input.
"""

from dataclasses import replace

from transformers import Qwen3VLForConditionalGeneration

from selectmm.models import qwen2_5_vl, qwen2_vl
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import open_pretrained
from selectmm.models.vlm import VLM

# The chat template in its own chat_template.json: Qwen2-VL's marks, but no system message unless one is given.
CHATML = replace(qwen2_vl.CHATML, start="", tools=qwen2_5_vl.TOOLS)

# The mergers of the added features (model.visual.deepstack_merger_list) belong to the tower: as in Qwen's own
# fine-tuning code, whose ``tune_mm_mlp`` is model.visual.merger, no projector rate trains them. LoRA sits there where a
# recipe has vision_lr.
FAMILY = replace(qwen2_vl.FAMILY, name="qwen3_vl", template=CHATML)


def load(
    path: str,
    max_pixels: int | None = None,
    min_pixels: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    compute: Compute = PLAIN,
    fps: float | None = None,
    max_frames: int | None = None,
) -> VLM:
    """Load from a local folder or a hub id; arguments and errors are those of `qwen2_vl.load`."""
    opened = open_pretrained(Qwen3VLForConditionalGeneration, path, dtype, device, compute)
    return qwen2_vl.with_pixels(opened, FAMILY, max_pixels, min_pixels, fps, max_frames)
