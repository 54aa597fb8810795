"""A conversation as text by a family's template: placeholders for images, and where answers and questions stand."""

from collections.abc import Sequence

from selectmm.models.vlm import Template
from selectmm.pool.sample import ANSWERS, Shown, Turn

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
    the first word ("▁Yes"), and LLaVA's preprocess_v1 takes the loss on it too. A call of a tool is part of the answer
    before it, and has a span of its own. If the last turn is the user's, the text ends where an answer's span would
    begin.

    A user's span is words alone, without role marks or images. An answer that is context only (``Turn.trained``) has no
    span, nor have system prompts, tools and what they return.

    Args:
        images: where each image stands, in the order of the text; a number: so many open the turn ``image_turn``.

    Raises:
        ValueError: the template has no place for a turn's role (`Template.takes`).
    """
    clips = not isinstance(images, int) and any(one.video for one in images)
    if not template.takes({turn.role for turn in turns}) or (clips and template.video is None):
        raise ValueError("the model's template has no place for a turn of this conversation")
    places = opening(images, image_turn) if isinstance(images, int) else images
    text, answers, words = _opened(template, turns), [], []
    assistant = template.assistant_prefix.rstrip(" ")
    space = template.assistant_prefix[len(assistant) :]
    for place, turn in enumerate(turns):
        before = turns[place - 1].role if place else None
        after = turns[place + 1].role if place + 1 < len(turns) else None
        shown = [one for one in places if one.turn == place]
        if turn.role == "user":
            text += template.user_prefix
            said, spans = _with_images(template, turn.text, shown)
            words += [(len(text) + start, len(text) + end) for start, end in spans]
            text += said + template.user_suffix
        elif turn.role == "tool_result":
            text += "" if before == "tool_result" else template.user_prefix.rstrip("\n")
            text += template.tools.result + _with_images(template, turn.text, shown)[0] + template.tools.result_end
            text += "" if after == "tool_result" else template.user_suffix
        elif turn.role in ANSWERS:
            goes_on = turn.role == "tool_call" and before in ANSWERS
            text += "" if goes_on else assistant
            start = len(text)
            said = (
                f"{template.tools.call}{turn.text}{template.tools.call_end}" if turn.role == "tool_call" else turn.text
            )
            text += ("\n" if goes_on else space) + said
            text += "" if after == "tool_call" else template.assistant_suffix
            if turn.trained:
                answers.append((start, len(text)))
    if turns[-1].role in ("user", "tool_result"):
        text += assistant
    return text, answers, words


def _opened(template: Template, turns: Sequence[Turn]) -> str:
    """What stands before the first question: the template's start, or a system message of the row's own."""
    own = {turn.role: turn.text for turn in turns[:2] if turn.role in ("system", "tools")}
    if not own:
        return template.start
    prefix, suffix = template.system
    system = own.get("system", template.start.removeprefix(prefix).removesuffix(suffix))
    offered = ""
    if "tools" in own:
        lines = "".join(f"\n{line}" for line in own["tools"].split("\n"))
        offered = ("\n\n" if system else "") + template.tools.before + lines + template.tools.after
    return prefix + system + offered + suffix


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
    """The placeholder of an image or a clip; the space that some need before text is left out if another follows."""
    mark = template.video if image.video else template.image
    if not image.inline:
        return mark
    bare = mark.rstrip("\n")
    return bare if followed else bare.rstrip(" ")
