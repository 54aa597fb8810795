"""A row's image and its text side by side in one vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch.nn.functional import normalize
from transformers import CLIPModel, CLIPProcessor

from selectmm.features.feature import Feature, Seen
from selectmm.features.states import as_kept
from selectmm.models.encode import Conversation
from selectmm.models.forward import Reads
from selectmm.models.load import pick_device, read_checkpoint

Halves = Literal["raw", "unit"]
Words = Literal["turns", "questions"]

TARGET = "target"  # as an encoder: the experiment's own model


@dataclass(frozen=True)
class ClipPair:
    """CLIP's embedding of a row's image, and the mean of its embeddings of the row's turns; [rows, 2 · width].

    Of several images the mean, and zeros of a row that has none (of images or of turns). CLIP reads 77 tokens; a longer
    turn is cut there. 4,096 bytes a row with CLIP B/32, 2.7 GB for LLaVA-665K. The target model does not run.

    Attributes:
        checkpoint: a Hugging Face CLIP, a local folder or a hub id, such as ``openai/clip-vit-base-patch32``.
        halves: each as it is (``raw``), or scaled to length 1 (``unit``), as are the images and turns before the mean.
        words: all ``turns``, or the user's alone (``questions``).
    """

    checkpoint: str
    halves: Halves = "raw"
    words: Words = "turns"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Turns and images as they are; nothing of the target model."""
        return Reads(tensors=False, pictures=True)

    def compute(self, seen: Seen) -> torch.Tensor:
        """Image and text of each row, [n, 2 · width]."""
        model, processor = _open(self.checkpoint)
        unit = self.halves == "unit"
        image = _images(model, processor, seen.conversations, unit)
        text = _texts(model, processor, [_spoken(talk, self.words) for talk in seen.conversations], unit)
        return _side_by_side(image, text, self.halves)


@dataclass(frozen=True)
class StatePair:
    """Mean of the image's tokens as they enter the decoder, and mean of the embeddings of the words of the turns.

    [rows, 2 · width]; zeros in place of the image of a row that has none. The model stops after its first layer.

    Attributes:
        halves: each as it is (``raw``), or scaled to length 1 (``unit``).
        words: of all ``turns``, or of the user's alone (``questions``).
    """

    halves: Halves = "raw"
    words: Words = "turns"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """What enters the first layer."""
        return Reads(layers=frozenset({0}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """Image and text of each row, [n, 2 · width]."""
        states, parts = seen.hidden(0), []
        asked = seen.instruction_tokens
        for wanted in (seen.image_tokens, asked if self.words == "questions" else asked | seen.answer_tokens):
            share = (wanted / wanted.sum(1, keepdim=True).clamp(min=1)).unsqueeze(1)
            parts.append(torch.bmm(share.float(), states.float()).squeeze(1))
        return as_kept(_side_by_side(*parts, self.halves), states)


def pair_of(encoder: str, halves: Halves, words: Words = "turns") -> Feature:
    """Image and text of a row, by the experiment's own model (``target``) or by a CLIP, a folder or hub id."""
    return StatePair(halves, words) if encoder == TARGET else ClipPair(encoder, halves, words)


def _side_by_side(image: torch.Tensor, text: torch.Tensor, halves: Halves) -> torch.Tensor:
    parts = [image, text] if halves == "raw" else [normalize(image, dim=1), normalize(text, dim=1)]
    return torch.cat(parts, 1)


def _spoken(talk: Conversation, words: Words) -> list[str]:
    return [turn.text for turn in talk.turns if words == "turns" or turn.role == "user"]


def _images(model: CLIPModel, processor: CLIPProcessor, talks: Sequence[Conversation], unit: bool) -> torch.Tensor:
    """Mean embedding of each conversation's images, [n, width]; zeros without any."""
    shown = [talk.pictures() for talk in talks]
    if not any(shown):
        return torch.zeros(len(talks), model.config.projection_dim)
    pixels = processor(images=[one for of in shown for one in of], return_tensors="pt").to(model.device)
    found = model.visual_projection(model.vision_model(**pixels).pooler_output)
    return _means(found, [len(of) for of in shown], unit)


def _texts(model: CLIPModel, processor: CLIPProcessor, spoken: Sequence[Sequence[str]], unit: bool) -> torch.Tensor:
    """Mean embedding of each conversation's turns, [n, width]; zeros without any."""
    limit = model.config.text_config.max_position_embeddings
    words = [text for turns in spoken for text in turns]
    if not words:
        return torch.zeros(len(spoken), model.config.projection_dim)
    read = processor(text=words, padding=True, truncation=True, max_length=limit, return_tensors="pt").to(model.device)
    found = model.text_projection(model.text_model(**read).pooler_output)
    return _means(found, [len(turns) for turns in spoken], unit)


def _means(vectors: torch.Tensor, counts: list[int], unit: bool) -> torch.Tensor:
    """The mean of each row's vectors, which follow one another; [n, width], zeros for a row of none."""
    parts = (normalize(vectors, dim=1) if unit else vectors).float().cpu().split(counts)
    return torch.stack([part.mean(0) if len(part) else part.new_zeros(part.shape[1]) for part in parts])


@lru_cache(maxsize=1)
def _open(checkpoint: str) -> tuple[CLIPModel, CLIPProcessor]:
    model, processor = read_checkpoint(CLIPModel, checkpoint, torch.float32)
    return model.to(pick_device("auto")).eval(), processor
