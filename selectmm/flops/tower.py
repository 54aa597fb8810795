"""FLOPs of a family's vision tower on the images of an encoded batch, without the projector."""

import math
from contextlib import ExitStack
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from PIL import Image
from torch import nn
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches
from transformers.vision_utils import get_vision_window_index

from selectmm.flops.anatomy import weights_of
from selectmm.models.encode import Batch
from selectmm.models.vlm import VLM

_SHOWN = ("pixel_values", "image_grid_thw", "image_sizes", "batch_num_images")  # what a model is told of images
_PIXELS = ("pixel_values", "pixel_values_videos")
# A tile's FLOPs by model and shape: one pass over shapes takes a second.
_TILES: WeakKeyDictionary[nn.Module, dict[torch.Size, int]] = WeakKeyDictionary()


def tower_flops(vlm: VLM, batch: Batch) -> int:
    """The vision tower's FLOPs for all images and clips of a batch; 0 without any.

    A family that resizes images to one size (LLaVA, tiles of InternVL and LLaVA-OneVision) is passed through once as
    shapes; one that takes patches of any number (Qwen) has its formula.
    """
    grids = [batch[name] for name in ("image_grid_thw", "video_grid_thw") if name in batch]
    if grids:
        return _patches(vlm, _frames(torch.cat(grids)))
    tiles = _tiles(vlm, batch)
    if not tiles:
        return 0
    tile = next(batch[name] for name in _PIXELS if name in batch).shape[-3:]
    known = _TILES.setdefault(vlm.model, {})
    if tile not in known:
        known[tile] = _tile(vlm.model.get_submodule(vlm.family.vision), tile)
    return known[tile] * tiles


def pictures(vlm: VLM, size: tuple[int, int], rows: int = 1) -> Batch:
    """Images of so many pixels, each alone in its row, as the processor prepares them for the model."""
    made = vlm.processor(
        text=[vlm.processor.image_token] * rows,
        images=[[Image.new("RGB", size)] for _ in range(rows)],
        padding=True,
        return_tensors="pt",
    )
    return {name: made[name] for name in _SHOWN if name in made}


def projected(vlm: VLM, batch: Batch, seen: int) -> int:
    """How many tokens the projector puts out for the images and clips of a batch, which have ``seen`` in the end."""
    return _tiles(vlm, batch) * vlm.processor.num_image_tokens if vlm.family.tiles_alone else seen


def _tiles(vlm: VLM, batch: Batch) -> int:
    """How many images of one size the tower is shown; LLaVA-OneVision's lie beside blank ones, which it is not."""
    if not vlm.family.tiles_alone:
        return len(batch.get("pixel_values", ()))
    config, sizes = vlm.model.config, iter(batch.get("image_sizes", ()))
    tiles = 0
    for images in batch.get("batch_num_images", ()):
        for size in [next(sizes) for _ in range(int(images))]:
            side = config.vision_config.image_size
            tiles += 1 if images > 1 else image_size_to_num_patches(size, config.image_grid_pinpoints, side)
    return tiles + math.prod(batch["pixel_values_videos"].shape[:2] if "pixel_values_videos" in batch else [0])


@torch.no_grad()
def _tile(tower: nn.Module, shape: torch.Size) -> int:
    """One image of a fixed size [channels, height, width]: each product as it is met, attention where queries are."""
    flops = 0

    def count(name: str, module: nn.Linear | nn.Conv2d, _inputs: object, output: torch.Tensor) -> None:
        """Add the FLOPs of one layer's product, two per weight and position."""
        nonlocal flops
        channels = module.weight.shape[0]
        flops += 2 * weights_of(module) * (output.numel() // channels)
        if name.endswith("q_proj"):
            flops += 4 * output.shape[-2] ** 2 * channels

    with ExitStack() as hooks:
        for name, module in tower.named_modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                hooks.callback(module.register_forward_hook(partial(count, name)).remove)
        weight = next(tower.parameters())
        tower(torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype))
    return flops


def _frames(grids: torch.Tensor) -> torch.Tensor:
    """A clip's steps in time as images of their own, since no attention of the tower reaches from one to another."""
    each = grids.repeat_interleave(grids[:, 0], 0)
    each[:, 0] = 1
    return each


def _patches(vlm: VLM, grids: torch.Tensor) -> int:
    """Images as grids of patches [images, 3]: linear layers see each patch, mergers a token, attention a window."""
    tower: Any = vlm.model.get_submodule(vlm.family.vision)
    config = vlm.model.config.vision_config
    sizes = grids.prod(1)
    patches, tokens = int(sizes.sum()), int(sizes.sum()) // config.spatial_merge_size**2
    width, flops = 0, 0
    for name, module in tower.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv3d) or _in_projector(vlm, name):
            continue
        flops += 2 * weights_of(module) * (tokens if "merger" in name else patches)
        width = cast(int, module.in_features) if name.endswith("qkv") else width
    unwindowed = len(tower.blocks)
    windowed = 0
    if hasattr(tower, "fullatt_block_indexes"):  # Qwen2.5-VL: all other blocks attend inside windows
        unwindowed = len(set(tower.fullatt_block_indexes))
        _, ends = get_vision_window_index(grids, config.spatial_merge_size, config.window_size, config.patch_size)
        windowed = (len(tower.blocks) - unwindowed) * int(ends.unique().diff().square().sum())
    return flops + 4 * width * (unwindowed * int(sizes.square().sum()) + windowed)


def _in_projector(vlm: VLM, name: str) -> bool:
    return f"{vlm.family.vision}.{name}.".startswith(f"{vlm.family.projector}.")
