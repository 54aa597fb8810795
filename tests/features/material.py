"""A batch of unlike rows, and what Hugging Face makes of one of them at a time."""

from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from selectmm.features.feature import Feature, Seen
from selectmm.features.loaded import encoded
from selectmm.features.ranks import Ranks
from selectmm.features.store import FeatureStore
from selectmm.models.encode import IGNORED, Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.models.test_encode import PIECES, by_hand

TEMPLATE = {"llava": "llava_vicuna", "qwen2_vl": "qwen2_vl"}


def _noise(seed: int) -> tuple[Image.Image]:
    """Images of 56 × 56 pixels, which both families turn into 4 tokens."""
    pixels = np.random.default_rng(seed).integers(0, 256, (56, 56, 3), np.uint8)
    return (Image.fromarray(pixels),)


TALKS = [
    Conversation(
        (
            Turn("user", "What colour is the shape?"),
            Turn("assistant", "The shape is a square."),
            Turn("user", "Which?"),
            Turn("assistant", "é 5"),
        ),
        _noise(0),
    ),
    Conversation((Turn("user", "How much is one plus two?"), Turn("assistant", "3"))),
    Conversation((Turn("user", "Which shape is it? " * 9), Turn("assistant", "It is a circle.")), _noise(1)),
    Conversation((Turn("user", "Is it red?"), Turn("assistant", "no")), _noise(2)),
]
UNANSWERED = 2  # the row of `TALKS` whose answer `limit_of` cuts off


def limit_of(vlm: VLM) -> int:
    """So many tokens that row `UNANSWERED` of `TALKS` just loses its answer and all other rows are whole."""
    labels = [by_hand(vlm, TEMPLATE[vlm.family.name], talk)[1] for talk in TALKS]
    limit = next(i for i, label in enumerate(labels[UNANSWERED]) if label != IGNORED)
    assert all(len(row) <= limit for i, row in enumerate(labels) if i != UNANSWERED)
    return limit


def seen(vlm: VLM, *features: Feature, talks: list[Conversation] = TALKS, limit: int | None = None) -> Seen:
    """A batch as the store hands it to features that ride on one pass, cut to ``limit`` tokens (`limit_of`)."""
    loaded = encoded(vlm, list(range(len(talks))), talks, pictures=True)
    reads = reduce(or_, (feature.reads() for feature in features))
    return Seen(vlm, loaded, reads, limit_of(vlm) if limit is None else limit)


@dataclass(frozen=True)
class Row:
    """One row, tokenised piece by piece, as Hugging Face's own forward takes it.

    Attributes:
        inputs: of the model, without padding, not cut. ids: tokens. labels: `IGNORED` outside the answers.
        words: which tokens overlap the user's words.
    """

    inputs: dict[str, torch.Tensor]
    ids: torch.Tensor
    labels: torch.Tensor
    words: torch.Tensor

    @classmethod
    def of(cls, vlm: VLM, talk: Conversation) -> "Row":
        template = TEMPLATE[vlm.family.name]
        ids, labels = (torch.tensor(numbers) for numbers in by_hand(vlm, template, talk))
        encoded = encode(vlm, [talk], side="right", limit=None)
        assert encoded["input_ids"][0].tolist() == ids.tolist()
        return cls(inputs_of(encoded), ids, labels, _words(vlm, template, talk))

    def logits_and_targets(self, vlm: VLM) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the answer tokens, from full logits."""
        logits = vlm.model(**self.inputs).logits[0, :-1]
        return logits[self.labels[1:] != IGNORED], self.labels[1:][self.labels[1:] != IGNORED]


def _words(vlm: VLM, template: str, talk: Conversation) -> torch.Tensor:
    """Tokens that overlap the user's words, found in the text as it is written out; [tokens] of bool."""
    start, user, user_end, assistant, space, end, image = PIECES[template]
    text, spans = start, []
    for number, turn in enumerate(talk.turns):
        if turn.role == "assistant":
            text += assistant + space + turn.text + end
            continue
        text += user + (image if talk.images and number == 0 else "")
        spans.append((len(text), len(text) + len(turn.text)))
        text += turn.text + user_end
    offsets = vlm.processor.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    return torch.tensor([any(a < end and b > start for start, end in spans) for a, b in offsets])


def store_of(vlm: VLM, cache: Path, batch_size: int = 4, shard: int = 4, ranks: Ranks | None = None) -> FeatureStore:
    return FeatureStore(cache, vlm, batch_size, shard, limit=512, ranks=ranks)
