"""A held-out question, before it takes a benchmark's schema."""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Item:
    """A question with its answer; ``options`` is empty for an open one; ``kind`` is the skill that is asked."""

    kind: str
    question: str
    answer: str
    options: tuple[str, ...]
    image: Image.Image | None
