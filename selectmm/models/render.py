"""A conversation as text by a family's template: placeholders for images, and where answers and questions stand."""

from collections.abc import Sequence

from selectmm.models.vlm import Template
from selectmm.pool.sample import Shown, Turn

Span = tuple[int, int]
"""Start and end, in characters."""


def opening(images: int, turn: int = 0) -> tuple[Shown, ...]:
    """The places of so many images that open a turn."""
    return (Shown("", turn),) * images


def render(
    template: Template, turns: Sequence[Turn], images: int | Sequence[Shown], image_turn: int = 0
) -> tuple[str, list[Span], list[Span]]:
    """The text of a conversation, the spans of its answers, and those of the user's words.

    An answer's span holds its end token, and the space that ends the assistant's prefix: many vocabularies join it with
    the first word ("▁Yes"), and LLaVA's preprocess_v1 takes the loss on it too. If the last turn is the user's, the
    text ends where an answer's span would begin.

    A user's span is words alone, without role marks or images. An answer that is context only (``Turn.trained``) has no
    span.

    Args:
        images: where each image stands, in the order of the text; a number: so many open the turn ``image_turn``.
    """
    places = opening(images, image_turn) if isinstance(images, int) else images
    text, answers, words = template.start, [], []
    assistant = template.assistant_prefix.rstrip(" ")
    space = template.assistant_prefix[len(assistant) :]
    for place, turn in enumerate(turns):
        if turn.role == "user":
            text += template.user_prefix
            said, spans = _with_images(template, turn.text, [one for one in places if one.turn == place])
            words += [(len(text) + start, len(text) + end) for start, end in spans]
            text += said + template.user_suffix
        else:
            text += assistant
            start = len(text)
            text += space + turn.text + template.assistant_suffix
            if turn.trained:
                answers.append((start, len(text)))
    if turns[-1].role == "user":
        text += assistant
    return text, answers, words


def _with_images(template: Template, words: str, places: Sequence[Shown]) -> tuple[str, list[Span]]:
    """What a turn says, with a placeholder where each image stands; and where its words stand in that."""
    text, spans, done = "", [], 0
    for number, one in enumerate(places):
        if one.at > done:
            spans.append((len(text), len(text) + one.at - done))
            text += words[done : one.at]
        following = places[number + 1].at if number + 1 < len(places) else None
        text += _mark(template, one, followed=following != one.at)
        done = one.at
    spans.append((len(text), len(text) + len(words) - done))
    return text + words[done:], spans


def _mark(template: Template, image: Shown, followed: bool) -> str:
    """The placeholder of an image; the space that some need before text is left out if another image follows."""
    if not image.inline:
        return template.image
    bare = template.image.rstrip("\n")
    return bare if followed else bare.rstrip(" ")
