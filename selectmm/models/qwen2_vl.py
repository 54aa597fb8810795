"""Qwen2-VL."""

from transformers import PreTrainedModel, ProcessorMixin, Qwen2VLForConditionalGeneration
from transformers.image_utils import SizeDict

from selectmm.errors import UserError
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
    video="<|vision_start|><|video_pad|><|vision_end|>",
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
    """Load from a local folder or a hub id (``owner/name`` or ``owner/name@revision``).

    Args:
        path: where the checkpoint is.
        max_pixels: an image of more is made smaller, its sides in proportion; None: the checkpoint's own.
        min_pixels: an image of fewer is made larger; None: the checkpoint's own.
        dtype: as in `open_pretrained`.
        device: as in `open_pretrained`.
        compute: as in `open_pretrained`.
        fps: frames of a clip that are seen each second; None: the checkpoint's own, or 2.
        max_frames: the most frames of a clip that are seen; None: the checkpoint's own, mostly 768.

    Raises:
        UserError: nothing is there, this machine cannot compute so, or pixels or frames are no range.
    """
    opened = open_pretrained(Qwen2VLForConditionalGeneration, path, dtype, device, compute)
    return with_pixels(opened, FAMILY, max_pixels, min_pixels, fps, max_frames)


def with_pixels(
    opened: tuple[PreTrainedModel, ProcessorMixin, str],
    family: Family,
    most: int | None,
    fewest: int | None,
    fps: float | None = None,
    max_frames: int | None = None,
) -> VLM:
    """A model of the Qwen-VL families as `open_pretrained` opened it, its image sizes and frames limited.

    Raises:
        UserError: see `limit_pixels` and `limit_frames`.
    """
    model, processor, weights = opened
    shown = limit_pixels(processor, most, fewest) + limit_frames(processor, fps, max_frames)
    return VLM(model, processor, family, identity_of(weights + shown, model, family))


def limit_pixels(processor: ProcessorMixin, most: int | None, fewest: int | None) -> str:
    """Set how many pixels the image processor gives an image; returns what that adds to the name of the weights.

    Raises:
        UserError: nothing is between the two.
    """
    if most is None and fewest is None:
        return ""
    size = processor.image_processor.size
    fewest = size["shortest_edge"] if fewest is None else fewest
    most = size["longest_edge"] if most is None else most
    if not 0 < fewest <= most:
        raise UserError(
            f"An image cannot have between {fewest:,} and {most:,} pixels; set model.min_pixels and model.max_pixels "
            f"to a range above 0."
        )
    processor.image_processor.size = SizeDict(shortest_edge=fewest, longest_edge=most)
    return f", {fewest} to {most} pixels"


def limit_frames(processor: ProcessorMixin, fps: float | None, most: int | None) -> str:
    """Set how many frames of a clip are seen; returns what that adds to the name of the weights.

    Raises:
        UserError: no clip could be seen.
    """
    if (fps is not None and fps <= 0) or (most is not None and most < processor.video_processor.temporal_patch_size):
        raise UserError(
            f"A clip cannot be seen with {fps} frames a second and at most {most} frames; set model.fps above 0 and "
            f"model.max_frames to 2 or more."
        )
    if fps is not None:
        processor.video_processor.fps = fps
    if most is not None:
        processor.video_processor.max_frames = most
        processor.video_processor.min_frames = min(processor.video_processor.min_frames, most)
    told = [f"{fps} frames a second"] * (fps is not None) + [f"{most} frames"] * (most is not None)
    return "".join(f", {one}" for one in told)
