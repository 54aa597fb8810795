"""What an image shows, by an image encoder of its own."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from transformers import AutoImageProcessor, AutoModel, BaseImageProcessor, PreTrainedModel

from selectmm.errors import UserError
from selectmm.features.feature import Seen
from selectmm.models.forward import Reads
from selectmm.models.load import OWN_CODE, pick_device, place


@dataclass(frozen=True)
class ImageEmbedding:
    """An image encoder's vector of each unique image, [unique images, width] of float32.

    The state of the first token after the last layer (DINOv2's CLS), or the projected image embedding of a CLIP. A clip
    is its middle frame. 3,072 bytes an image for DINOv2-base, 1.1 GB for the 350 thousand images of LLaVA-665K. The
    target model does not run.

    Attributes:
        checkpoint: a Hugging Face image encoder, a local folder or a hub id, such as ``facebook/dinov2-base``.
    """

    checkpoint: str
    view: Literal["image"] = "image"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Images as they are; nothing of the target model."""
        return Reads(tensors=False, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Vectors, [n, width]; zeros for a row without image, where rows are read."""
        model, processor = _open(self.checkpoint)
        shown = [row for row, one in enumerate(seen.conversations) if one.images]
        found = torch.zeros(len(seen), _width(model))
        if shown:
            images = [seen.conversations[row].pictures()[0] for row in shown]
            found[shown] = _embed(model, processor(images=images, return_tensors="pt")["pixel_values"]).float().cpu()
        return found


def _embed(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    pixels = pixels.to(model.device)
    if hasattr(model, "visual_projection"):  # a CLIP of both sides
        return model.visual_projection(model.vision_model(pixels).pooler_output)
    return model(pixels).last_hidden_state[:, 0]


def _width(model: PreTrainedModel) -> int:
    return model.config.projection_dim if hasattr(model, "visual_projection") else model.config.hidden_size


@lru_cache(maxsize=1)
def _open(checkpoint: str) -> tuple[PreTrainedModel, BaseImageProcessor]:
    name, options = place(checkpoint)
    try:
        model, found = AutoModel.from_pretrained(name, output_loading_info=True, **options, **OWN_CODE)
        processor = AutoImageProcessor.from_pretrained(name, **options, **OWN_CODE)
    except (OSError, ValueError, ImportError) as problem:
        raise UserError(
            f"No image encoder at '{checkpoint}': set method.encoder to target, to the folder of a Hugging Face image "
            f"encoder, or to a hub id while online ({str(problem).splitlines()[0]})"
        ) from problem
    if found["missing_keys"]:  # transformers would fill them with random numbers
        raise UserError(f"The image encoder at '{checkpoint}' lacks {min(found['missing_keys'])}; choose a whole one.")
    return model.float().to(pick_device("auto")).eval(), processor
