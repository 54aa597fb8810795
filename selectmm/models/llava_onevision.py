"""LLaVA-OneVision, the Hugging Face port (checkpoints whose name ends in ``-ov-hf``).

What is seen of images and clips is for the port's own processor and model to say:

- An image that is alone in its row is seen as a whole, and once more in tiles of the vision tower's size, of which as
  many as fit its size and shape. Tokens of padding are left out, and a newline token ends each line. If tiles have more
  than 1.21 times the tokens of nine, these are interpolated to about as many as nine have (``anyres_max_9``).
- Each of several images in a row is seen as a whole, padded to a square, and ends in one newline token.
- A clip is evenly spaced frames, pooled to a quarter of an image's tokens each, and one newline token.

Newline tokens hold the image's or the clip's token id, so they count as visual tokens.
"""

from dataclasses import replace

from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedModel, ProcessorMixin

from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.models import llava
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import identity_of, open_pretrained
from selectmm.models.vlm import LINEAR, VLM, Family

FRAMES = 32  # of a clip: the paper's most in training (arXiv 2408.03326), and lmms-eval's ``max_frames_num``

# The chat template of the port's own processor: chat_template.json of llava-hf/llava-onevision-qwen2-7b-si-hf
# (526055b), and transformers' convert_llava_onevision_weights_to_hf.py. It gives no system message; LLaVA-NeXT's code,
# which the models were trained with, has Qwen's (`llava.QWEN`). Another form, with a space behind the role and no line
# break behind <|im_end|>, stands in transformers' tests and vLLM's examples.
CHATML = replace(llava.QWEN, start="", video="<video>\n")

# The newline token (model.image_newline) lies beside these parts and stays as it is; LLaVA-NeXT's own full tuning
# trains it with the language model.
FAMILY = Family(
    name="llava_onevision",
    template=CHATML,
    layers="model.language_model.layers",
    vision="model.vision_tower",
    projector="model.multi_modal_projector",
    lora=LINEAR,
    square=False,
    tiles_alone=True,
)


def load(
    path: str,
    tiles: int | None = None,
    dtype: str = "auto",
    device: str = "auto",
    compute: Compute = PLAIN,
    frames: int = FRAMES,
) -> VLM:
    """Load from a local folder or a hub id (``owner/name`` or ``owner/name@revision``).

    Args:
        path: where the checkpoint is.
        tiles: the most tiles that an image is cut into; None: the checkpoint's own, 36 in the published ones.
        dtype: as in `open_pretrained`.
        device: as in `open_pretrained`.
        compute: as in `open_pretrained`.
        frames: of a clip that are seen, evenly spaced.

    Raises:
        UserError: nothing is there, this machine cannot compute so, or ``tiles`` or ``frames`` is less than 1.
    """
    if frames < 1:
        raise UserError(f"model.frames={frames}, but a clip has at least one frame; set it to 1 or more.")
    if tiles is not None and tiles < 1:
        raise UserError(f"model.tiles={tiles}, but an image has at least one tile; set it to 1 or more, or to null.")
    model, processor, weights = open_pretrained(LlavaOnevisionForConditionalGeneration, path, dtype, device, compute)
    shown = limit(model, processor, tiles, frames)
    return VLM(model, processor, FAMILY, identity_of(weights + shown, model, FAMILY))


def limit(model: PreTrainedModel, processor: ProcessorMixin, tiles: int | None, frames: int) -> str:
    """Set how an image and a clip are seen; returns what that adds to the name of the weights.

    Raises:
        UserError: the checkpoint cuts every image into more tiles.
    """
    processor.video_processor.num_frames = frames
    if tiles is None:
        return f", {frames} frames"
    tile, grids = model.config.vision_config.image_size**2, model.config.image_grid_pinpoints  # heights and widths
    least = min(height * width for height, width in grids) // tile
    if tiles < least:
        raise UserError(
            f"model.tiles={tiles}, but this checkpoint cuts an image into {counted(least, 'tile')} or more; set it to "
            f"that, or to null."
        )
    grids = [[height, width] for height, width in grids if height * width <= tiles * tile]
    model.config.image_grid_pinpoints = processor.image_processor.image_grid_pinpoints = grids
    return f", {tiles} tiles, {frames} frames"
