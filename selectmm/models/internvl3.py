"""InternVL3, the Hugging Face port (checkpoints whose name ends in ``-hf``)."""

from transformers import InternVLForConditionalGeneration

from selectmm.errors import UserError
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import identity_of, open_pretrained
from selectmm.models.vlm import LINEAR, VLM, Family, Template

# The port's own chat_template.jinja. It gives no system message; OpenGVLab's original code has one in Chinese. The
# processor puts <img> and </img> around an image's <IMG_CONTEXT> tokens, and repeats those 256 times per tile.
CHATML = Template(
    start="",
    image="<IMG_CONTEXT>\n",
    user_prefix="<|im_start|>user\n",
    user_suffix="<|im_end|>\n",
    assistant_prefix="<|im_start|>assistant\n",
    assistant_suffix="<|im_end|>\n",
)

FAMILY = Family(
    name="internvl3",
    template=CHATML,
    layers="model.language_model.layers",
    vision="model.vision_tower",
    projector="model.multi_modal_projector",
    lora=LINEAR,
    square=False,
)


def load(path: str, tiles: int = 1, dtype: str = "auto", device: str = "auto", compute: Compute = PLAIN) -> VLM:
    """Load from a local folder or a hub id (``owner/name`` or ``owner/name@revision``).

    Args:
        path: where the checkpoint is.
        tiles: the most tiles that an image is cut into. An image that is cut is seen once more as a whole, so that it
            has 256 · (tiles + 1) tokens; one that is not has 256.
        dtype: as in `open_pretrained`.
        device: as in `open_pretrained`.
        compute: as in `open_pretrained`.

    Raises:
        UserError: nothing is there, this machine cannot compute so, or ``tiles`` is less than 1.
    """
    if tiles < 1:
        raise UserError(f"model.tiles={tiles}, but an image has at least one tile; set it to 1 or more.")
    model, processor, weights = open_pretrained(InternVLForConditionalGeneration, path, dtype, device, compute)
    processor.image_processor.max_patches = tiles
    return VLM(model, processor, FAMILY, identity_of(f"{weights}, {tiles} tiles", model, FAMILY))
