"""Qwen2-VL."""

from transformers import Qwen2VLForConditionalGeneration

from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import identity_of, open_pretrained
from selectmm.models.vlm import LINEAR, VLM, Family, Template

# The chat template in Qwen2-VL's own tokenizer_config.json.
CHATML = Template(
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    image="<|vision_start|><|image_pad|><|vision_end|>",
    user_prefix="<|im_start|>user\n",
    user_suffix="<|im_end|>\n",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="<|im_end|>\n",
)

FAMILY = Family(
    name="qwen2_vl",
    template=CHATML,
    layers="model.language_model.layers",
    vision="model.visual",
    projector="model.visual.merger",
    lora=LINEAR,
    square=False,
)


def load(path: str, dtype: str = "auto", device: str = "auto", compute: Compute = PLAIN) -> VLM:
    """Load from a local folder or a hub id (``owner/name`` or ``owner/name@revision``).

    Raises:
        UserError: nothing is there, or this machine cannot compute so.
    """
    model, processor, weights = open_pretrained(Qwen2VLForConditionalGeneration, path, dtype, device, compute)
    return VLM(model, processor, FAMILY, identity_of(weights, model, FAMILY))
