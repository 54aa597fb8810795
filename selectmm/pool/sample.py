"""One instruction row, as every other part of the project sees it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Literal, NamedTuple

Role = Literal["system", "tools", "user", "assistant", "tool_call", "tool_result"]
"""Who speaks: ``tools`` offers tools, one a line, and ``tool_call`` is the assistant's call of one."""

ANSWERS: frozenset[Role] = frozenset({"assistant", "tool_call"})  # what the model says itself, and is trained on


class Turn(NamedTuple):
    """One utterance. The text never contains an image placeholder: images belong to the sample.

    ``trained`` is False for an answer (or a call) that is context only: nothing is learned from it, and no score looks
    at it.
    """

    role: Role
    text: str
    trained: bool = True


class Shown(NamedTuple):
    """An image or a clip that a row shows, and where.

    Attributes:
        path: relative to the pool's image root.
        turn: index of the turn that shows it. at: characters of that turn's text that stand before it.
        inline: the text goes on directly behind it, without the line break that some templates write there.
        video: whether it is a clip.
    """

    path: str
    turn: int = 0
    at: int = 0
    inline: bool = False
    video: bool = False


@dataclass(frozen=True)
class Sample:
    """A row of a pool.

    Its identity is (position, digest), never the ``id`` field of the JSON: ids repeat in LLaVA-665K.
    ``images`` stand in the order in which the turns show them; a text-only row has none.
    """

    position: int
    digest: str
    source: str
    turns: tuple[Turn, ...]
    images: tuple[Shown, ...] = ()

    @property
    def image(self) -> str | None:
        """Path of the first image; None for a text-only row."""
        return self.images[0].path if self.images else None

    @property
    def image_turn(self) -> int:
        """Index of the turn that shows the first image; 0 for a text-only row."""
        return self.images[0].turn if self.images else 0


def digest_of(source: str, turns: Sequence[Turn], images: Sequence[Shown]) -> str:
    """Content hash of a row: 32 hex characters over its source, turns and image path, over the image's place if that is
    not the first turn, and over which answers are not trained on if there are some. Of several images all count, each
    with its place.

    What is hashed is JSON in UTF-8, as ``json.dumps(…, ensure_ascii=False)`` writes it, put together by hand because
    that takes half the time: ``[source, [[role, text], …], image]``.

    Raises:
        UnicodeEncodeError: a text holds half of a surrogate pair.
    """
    said = ", ".join(
        [
            f'["{role}", {_quoted(text)}]' if trained else f'["{role}", {_quoted(text)}, false]'
            for role, text, trained in turns
        ]
    )
    if not images:
        shown = "null"
    elif len(images) == 1 and not images[0].video:
        path, turn, *_ = images[0]
        shown = f"{_quoted(path)}, {turn}" if turn else _quoted(path)
    else:
        listed = [
            f"[{_quoted(path)}, {turn}, {at}, {_BOOLEAN[inline]}{', true' if video else ''}]"
            for path, turn, at, inline, video in images
        ]
        shown = f"[{', '.join(listed)}]"
    return hashlib.sha256(f"[{_quoted(source)}, [{said}], {shown}]".encode()).hexdigest()[:32]


_quoted = encode_basestring  # a text as JSON writes it, without escapes for what is not ASCII
_BOOLEAN = ("false", "true")
