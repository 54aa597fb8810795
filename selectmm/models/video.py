"""Clips: which frames are seen, and how many tokens they have; for the Qwen families as their own processors have it.

Qwen2-VL's and Qwen2.5-VL's processors leave the number of frames a second to the caller; it is 2, as in qwen-vl-utils,
unless ``model.fps`` says otherwise. Qwen3-VL's processor has 2 of its own.

LLaVA-OneVision's takes any number of frames, but as many of every clip of a batch; they are evenly spaced, and
``model.frames`` is how many.

LLaVA's processor knows no clips: with ``model.frames`` a clip is so many images, its evenly spaced frames.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from selectmm.models.vlm import VLM
from selectmm.pool.clip import Clip

FPS = 2.0  # qwen-vl-utils' FPS


def frames_of(vlm: VLM, clip: Clip) -> list[int]:
    """The frames that the model sees, by the processor's own rule; of the Qwen families at least one pair."""
    processor = vlm.processor.video_processor
    if not _in_pairs(processor):
        return spaced_frames(clip.frames, processor.num_frames)
    if clip.frames < processor.temporal_patch_size:
        return [0] * processor.temporal_patch_size
    found = processor.sample_frames(_metadata(clip, None), fps=processor.fps or FPS)
    return [int(index) for index in found]


def as_images(vlm: VLM, shown: Image.Image | Clip) -> list[Image.Image]:
    """The images that the image processor is given: an image itself, and of a clip its frames if the family takes them
    so (`Family.frames`), else none.

    Raises:
        UserError: a clip cannot be decoded.
    """
    if not isinstance(shown, Clip):
        return [shown]
    if vlm.family.frames is None:
        return []
    return [Image.fromarray(frame) for frame in shown.read(spaced_frames(shown.frames, vlm.family.frames))]


def spaced_frames(there: int, wanted: int) -> list[int]:
    """Places of evenly spaced frames, the first and the last among them; some repeat where a clip has fewer.

    Source: ``load_video`` of lmms-eval's models for LLaVA-OneVision and LLaVA-Video.
    """
    return np.linspace(0, there - 1, wanted, dtype=int).tolist()


def videos_of(vlm: VLM, clips: Sequence[Clip]) -> dict[str, Any]:
    """What the processor is told of the clips of a batch; nothing if there are none, or if they are shown as images.

    Raises:
        UserError: a clip cannot be decoded.
    """
    if not clips or vlm.family.frames is not None:
        return {}
    chosen = [frames_of(vlm, clip) for clip in clips]
    return {
        "videos": [
            torch.from_numpy(clip.read(own)).permute(0, 3, 1, 2) for clip, own in zip(clips, chosen, strict=True)
        ],
        "video_metadata": [_metadata(clip, own) for clip, own in zip(clips, chosen, strict=True)],
        "do_sample_frames": False,
    }


def replacement_of(vlm: VLM, clip: Clip) -> str:
    """What the processor writes in place of a clip's placeholder, from its size alone.

    Raises:
        ValueError: the processor takes no clip of that size.
    """
    chosen, processor = frames_of(vlm, clip), vlm.processor.video_processor
    if not _in_pairs(processor):
        return vlm.processor.replace_video_token({"pixel_values_videos": [chosen]}, video_idx=0)
    patches = processor.get_num_of_video_patches(len(chosen), clip.height, clip.width, {})
    steps = -(-len(chosen) // processor.temporal_patch_size)
    grid = torch.tensor([[steps, 1, patches // steps]])  # height and width enter as a product alone
    told = {"video_grid_thw": grid, "video_metadata": [_metadata(clip, chosen)]}
    return vlm.processor.replace_video_token(told, video_idx=0)


def _in_pairs(processor: BaseVideoProcessor) -> bool:
    """Whether it joins frames that follow one another, as the Qwen families' does."""
    return hasattr(processor, "temporal_patch_size")


def _metadata(clip: Clip, chosen: list[int] | None) -> VideoMetadata:
    return VideoMetadata(
        total_num_frames=clip.frames,
        fps=clip.fps,
        width=clip.width,
        height=clip.height,
        duration=clip.frames / clip.fps,
        video_backend="pyav",
        frames_indices=chosen,
    )
