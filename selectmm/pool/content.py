"""What a turn says as a list of parts, as OpenAI's chat format and Hugging Face's templates have it.

``[{"type": "image_url", "image_url": {"url": "a/1.png"}}, {"type": "image"}, {"type": "text", "text": "What?"}]``.
A part that shows an image names its path in ``image``, ``image_url``, ``path`` or ``url``, or names none: then the
row's own ``images`` are meant, in their order.
"""

from collections.abc import Mapping

from selectmm.pool.bad import BadRow, empty, shown

MARK = "<image>\n"  # a part is a line of its own: templates that write a line break behind an image do so here
TEXT, IMAGE = frozenset({"text", "input_text", "output_text"}), frozenset({"image", "image_url", "input_image"})
PATHS = ("image", "image_url", "path", "url")  # of a part that shows an image
_SOUND = frozenset({"audio", "audio_url", "input_audio"})


def text_of(parts: list[object], place: int, inside: list[str | None]) -> str:
    """The text of the parts with ``<image>`` for each image, whose path (None without one) is added to ``inside``.

    Args:
        place: of the turn, for sentences.

    Raises:
        BadRow: a part is of another kind, or shows an image that is no path.
    """
    said = ""
    for part in parts:
        if isinstance(part, str):
            said += part
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind.__class__ is not str:
            raise BadRow("a part of another shape", f"has in turn {place} a part without a 'type': {shown(part)}")
        if kind in TEXT:
            said += _text(part, place)
        elif kind in IMAGE:
            said += MARK
            inside.append(_path(part, place))
        elif kind in _SOUND:
            raise BadRow("a sound", f"has a sound in turn {place}, and sounds are not read yet")
        elif kind in ("video", "video_url"):
            raise BadRow("a video", f"has a video in turn {place}, and videos are not read yet")
        else:
            raise BadRow(
                "a part of an unknown type",
                f"has in turn {place} a part of the type {shown(kind)}; known are text and image",
            )
    return said


def _text(part: Mapping[str, object], place: int) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise BadRow("a part of another shape", f"has in turn {place} a text part without a 'text': {shown(part)}")
    return text


def _path(part: Mapping[str, object], place: int) -> str | None:
    """The path that a part names; None if it names none."""
    found = [part[name] for name in PATHS if not empty(part.get(name))]
    named = [one.get("url") if isinstance(one, Mapping) else one for one in found]
    if not named:
        return None
    path = named[0]
    if not isinstance(path, str) or not path or any(one != path for one in named):
        raise BadRow("an image that is no path", f"has in turn {place} an image that is no path: {shown(found)}")
    return path
