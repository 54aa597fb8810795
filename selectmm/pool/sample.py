"""One instruction row, as every other part of the project sees it."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Role = Literal["user", "assistant"]


@dataclass(frozen=True)
class Turn:
    """One utterance. The text never contains the image placeholder: the image belongs to the sample.

    ``trained`` is False for an answer that is context only: nothing is learned from it, and no score looks at it.
    """

    role: Role
    text: str
    trained: bool = True


@dataclass(frozen=True)
class Sample:
    """A row of a pool.

    Its identity is (position, digest), never the ``id`` field of the JSON: ids repeat in LLaVA-665K.
    ``image`` is a path relative to the pool's image root, or None for a text-only row; ``image_turn`` is the index of
    the turn that it opens.
    """

    position: int
    digest: str
    source: str
    turns: tuple[Turn, ...]
    image: str | None
    image_turn: int = 0


_ENCODER = json.JSONEncoder(ensure_ascii=False)  # json.dumps would make one for every row


def digest_of(source: str, turns: tuple[Turn, ...], image: str | None, image_turn: int = 0) -> str:
    """Content hash of a row: 32 hex characters over its source, turns and image path, over the image's place if that is
    not the first turn, and over which answers are not trained on if there are some.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair.
    """
    said = [[t.role, t.text] if t.trained else [t.role, t.text, False] for t in turns]
    content = [source, said, image, *([image_turn] if image_turn else [])]
    return hashlib.sha256(_ENCODER.encode(content).encode()).hexdigest()[:32]
