"""LLaVA-1.5 and its kin: any LlavaForConditionalGeneration."""

from transformers import LlavaForConditionalGeneration

from selectmm.errors import UserError
from selectmm.models.load import identity_of, open_pretrained
from selectmm.models.vlm import VLM, Family, Template

# LLaVA's conversation.py, conv_vicuna_v1: roles are parted by a space, an answer ends in </s>.
VICUNA = Template(
    start="<s>A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. ",
    image="<image>\n",
    user_prefix="USER: ",
    user_suffix=" ",
    assistant_prefix="ASSISTANT: ",
    assistant_suffix="</s>",
)

CHATML = Template(
    start="",
    image="<image>\n",
    user_prefix="<|im_start|>user\n",
    user_suffix="<|im_end|>\n",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="<|im_end|>",
)

TEMPLATES = {"vicuna": VICUNA, "chatml": CHATML}


def family(template: Template, *, square: bool = True) -> Family:
    """The LLaVA family with one of its templates; LoRA sits on every linear layer of the language model."""
    return Family(
        name="llava",
        template=template,
        layers="model.language_model.layers",
        vision="model.vision_tower",
        projector="model.multi_modal_projector",
        lora=r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
        square=square,
    )


def load(path: str, template: str = "vicuna", dtype: str = "auto", device: str = "auto", square: bool = True) -> VLM:
    """Load from a local folder or a hub id (``owner/name`` or ``owner/name@revision``).

    Raises:
        UserError: nothing is there, or the template is not one of `TEMPLATES`.
    """
    if template not in TEMPLATES:
        raise UserError(f"No LLaVA template '{template}'; there are: {', '.join(TEMPLATES)}.")
    model, processor, weights = open_pretrained(LlavaForConditionalGeneration, path, dtype, device)
    kind = family(TEMPLATES[template], square=square)
    return VLM(model, processor, kind, identity_of(weights, model, kind))
