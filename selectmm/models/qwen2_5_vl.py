"""Qwen2.5-VL."""

from dataclasses import replace

from transformers import Qwen2_5_VLForConditionalGeneration

from selectmm.models import qwen2_vl
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import open_pretrained
from selectmm.models.vlm import VLM, Tools

# Of the chat template in its tokenizer_config.json (Qwen2.5's, in Hermes' manner). Qwen3-VL's chat_template.json has
# the same words.
TOOLS = Tools(
    before="# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are provided with "
    "function signatures within <tools></tools> XML tags:\n<tools>",
    after="\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    '<tool_call></tool_call> XML tags:\n<tool_call>\n{"name": <function-name>, "arguments": <args-json-object>}\n'
    "</tool_call>",
    call="<tool_call>\n",
    call_end="\n</tool_call>",
    result="\n<tool_response>\n",
    result_end="\n</tool_response>",
)

# The chat template in its own chat_template.json is Qwen2-VL's, and its modules have Qwen2-VL's names; its vision tower
# has other layers, which nothing here touches. That file knows no tools; what its tokenizer's template says of them is
# added.
FAMILY = replace(qwen2_vl.FAMILY, name="qwen2_5_vl", template=replace(qwen2_vl.CHATML, tools=TOOLS))


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
    opened = open_pretrained(Qwen2_5_VLForConditionalGeneration, path, dtype, device, compute)
    return qwen2_vl.with_pixels(opened, FAMILY, max_pixels, min_pixels, fps, max_frames)
