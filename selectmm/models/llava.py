"""LLaVA-1.5 and its kin: any LlavaForConditionalGeneration, whatever its language model is (Llama, Qwen2, Phi)."""

from dataclasses import replace

from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from selectmm.errors import UserError
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import identity_of, open_pretrained
from selectmm.models.vlm import LINEAR, VLM, Family, Template

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

# TinyLLaVA Factory's data/template/phi_template.py: vicuna_v1 in Phi-2's vocabulary, which begins no text with a token.
PHI2 = replace(VICUNA, start=VICUNA.start.removeprefix("<s>"), assistant_suffix="<|endoftext|>")

# XTuner's utils/templates.py, llama3_chat, with the beginning of text that its tokenizer puts in front.
LLAMA3 = Template(
    start="<|begin_of_text|>",
    image="<image>\n",
    user_prefix="<|start_header_id|>user<|end_header_id|>\n\n",
    user_suffix="<|eot_id|>",
    assistant_prefix="<|start_header_id|>assistant<|end_header_id|>\n\n",
    assistant_suffix="<|eot_id|>",
)

# LLaVA-NeXT's conversation.py, conv_qwen (``qwen_1_5``). Its own training (preprocess_qwen) takes the loss on the marks
# of roles too; here, as everywhere, it is on answers and their ends alone.
QWEN = Template(
    start="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    image="<image>\n",
    user_prefix="<|im_start|>user\n",
    user_suffix="<|im_end|>\n",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="<|im_end|>\n",
)

TEMPLATES = {"vicuna": VICUNA, "chatml": CHATML, "phi2": PHI2, "llama3": LLAMA3, "qwen": QWEN}

# Phi names the linear layers of attention's end and of its MLP in its own way.
LINEAR_OF = {"phi": r".*language_model.*\.(q_proj|k_proj|v_proj|dense|fc1|fc2)"}


def family(template: Template, *, square: bool = True, lora: str = LINEAR, frames: int | None = None) -> Family:
    """The LLaVA family with one of its templates; LoRA sits on every linear layer of the language model."""
    return Family(
        name="llava",
        template=template if frames is None else replace(template, video=_clip(template.image, frames)),
        layers="model.language_model.layers",
        vision="model.vision_tower",
        projector="model.multi_modal_projector",
        lora=lora,
        square=square,
        frames=frames,
    )


def _clip(image: str, frames: int) -> str:
    """A clip's placeholder: its frames are images directly one behind another, the last one like an image alone."""
    return image.rstrip("\n").rstrip(" ") * (frames - 1) + image


def spaced(template: Template, tokenizer: PreTrainedTokenizerBase) -> Template:
    """The template, with spaces where LLaVA's own tokens begin a text and this tokenizer would go on with one.

    LLaVA's tokenizer_image_token gives the pieces around an image to SentencePiece one by one, which puts a "▁" in
    front of each, as in front of the beginning; here a conversation is one string. Vicuna-1.5's tokenizer (``legacy``
    false) puts a "▁" in front of the whole string only, and a space there is that "▁". Byte-level vocabularies need
    none, nor do Llama's older ones, which put a "▁" behind every special token.
    """

    def ids(text: str) -> list[int]:
        """Token ids without those that begin or end a text."""
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    image = template.image.rstrip("\n")
    if ids(f"{image}\n") == ids(image) + ids("\n"):
        return template
    start = template.start.replace("<s>", "<s> ", 1)
    return replace(template, start=start, image=template.image.replace(image, f"{image} "))


def load(
    path: str,
    template: str = "vicuna",
    dtype: str = "auto",
    device: str = "auto",
    square: bool = True,
    compute: Compute = PLAIN,
    frames: int | None = None,
) -> VLM:
    """Load from a local folder or a hub id (``owner/name`` or ``owner/name@revision``).

    Args:
        frames: show a clip as so many images, its evenly spaced frames, as LLaVA-NeXT and LLaVA-OneVision are shown
            clips. LLaVA-1.5 was not trained on clips; that it takes them so is our reading. None: no clips.

    Raises:
        UserError: nothing is there, this machine cannot compute so, the template is not one of `TEMPLATES`, or
            ``frames`` is not a number above 0.
    """
    if frames is not None and frames < 1:
        raise UserError(f"A clip cannot be shown as {frames} images; set model.frames to 1 or more, or null.")
    if template not in TEMPLATES:
        raise UserError(f"No LLaVA template '{template}'; there are: {', '.join(TEMPLATES)}.")
    model, processor, weights = open_pretrained(LlavaForConditionalGeneration, path, dtype, device, compute)
    linear = LINEAR_OF.get(model.config.text_config.model_type, LINEAR)
    kind = family(spaced(TEMPLATES[template], processor.tokenizer), square=square, lora=linear, frames=frames)
    return VLM(model, processor, kind, identity_of(weights, model, kind))
