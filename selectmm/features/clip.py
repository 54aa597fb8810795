"""How well an image and its text fit, by a CLIP model."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch.nn.functional import cosine_similarity
from transformers import CLIPModel, CLIPProcessor

from selectmm.features.feature import Seen
from selectmm.models.encode import Conversation
from selectmm.models.forward import Reads
from selectmm.models.load import pick_device, read_checkpoint


@dataclass(frozen=True)
class ClipScore:
    """Cosine of CLIP's embeddings of a row's image and of its text, turns joined; [rows], 0 for a row without image.

    Of several images the mean of their cosines; a clip is its middle frame.

    CLIP reads 77 tokens; a longer text is cut there. The target model does not run.

    Attributes:
        checkpoint: a Hugging Face CLIP, a local folder or a hub id, such as ``openai/clip-vit-large-patch14``.
    """

    checkpoint: str
    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Turns and images as they are; nothing of the target model."""
        return Reads(tensors=False, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Cosines, [n]; 0 for a row without image."""
        scores = torch.zeros(len(seen.conversations))
        shown = [row for row, one in enumerate(seen.conversations) if one.images]
        if shown:
            scores[shown] = _cosines(self.checkpoint, [seen.conversations[row] for row in shown])
        return scores


def _cosines(checkpoint: str, conversations: list[Conversation]) -> torch.Tensor:
    model, processor = _open(checkpoint)
    inputs = processor(
        text=["\n".join(turn.text for turn in one.turns) for one in conversations],
        images=[image for one in conversations for image in one.pictures()],
        padding=True,
        truncation=True,
        max_length=model.config.text_config.max_position_embeddings,
        return_tensors="pt",
    ).to(model.device)
    output = model(**inputs)
    counts = torch.tensor([len(one.images) for one in conversations], device=model.device)
    of_image = torch.arange(len(conversations), device=model.device).repeat_interleave(counts)
    cosines = cosine_similarity(output.image_embeds, output.text_embeds[of_image])
    sums = torch.zeros(len(conversations), dtype=cosines.dtype, device=cosines.device).index_add_(0, of_image, cosines)
    return (sums / counts).float().cpu()


@lru_cache(maxsize=1)
def _open(checkpoint: str) -> tuple[CLIPModel, CLIPProcessor]:
    model, processor = read_checkpoint(CLIPModel, checkpoint, torch.float32)
    return model.to(pick_device("auto")).eval(), processor
