"""What a turn says as a list of parts, as OpenAI's chat format and Hugging Face's templates have it.

``[{"type": "image_url", "image_url": {"url": "a/1.png"}}, {"type": "image"}, {"type": "text", "text": "What?"}]``.
A part that shows an image names its path in ``image``, ``image_url``, ``path`` or ``url``, or names none: then the
row's own ``images`` are meant, in their order.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.fields import IN_A_PART, check_fields

MARK, VIDEO_MARK = (
    "<image>\n",
    "<video>\n",
)  # a part is a line of its own: templates that write a line break behind an image do so here
VIDEO = frozenset({"video", "video_url", "input_video"})
TEXT, IMAGE = frozenset({"text", "input_text", "output_text"}), frozenset({"image", "image_url", "input_image"})
PATHS = ("image", "image_url", "path", "url")  # of a part that shows an image
VIDEO_PATHS = ("video", "video_url", "path", "url")
_SOUND = frozenset({"audio", "audio_url", "input_audio"})
_READ = {
    **dict.fromkeys(TEXT, frozenset({"type", "text"})),
    **dict.fromkeys(IMAGE, frozenset({"type", *PATHS})),
    **dict.fromkeys(VIDEO, frozenset({"type", *VIDEO_PATHS})),
}


class Named(NamedTuple):
    """What the parts of a row's content lists show, in order: paths, None for a part that names none."""

    images: list[str | None]
    videos: list[str | None]


def text_of(parts: list[object], place: int, inside: Named, unread: list[str]) -> str:
    """The text of the parts with ``<image>`` or ``<video>`` for what is shown; the paths are added to ``inside``.

    Args:
        place: of the turn, for sentences.
        unread: names of fields in parts that say something and are not read are added to it.

    Raises:
        BadRow: a part is of another kind, shows an image that is no path, or has a field that changes what it shows.
    """
    said = ""
    for part in parts:
        if isinstance(part, str):
            said += part
            continue
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind.__class__ is not str or not isinstance(part, Mapping):
            raise BadRow("a part of another shape", f"has in turn {place} a part without a 'type': {shown(part)}")
        if kind in _READ:
            unread += _unread(part, _READ[kind])
        if kind in TEXT:
            said += _text(part, place)
        elif kind in IMAGE:
            said += MARK
            inside.images.append(_path(part, place, PATHS))
        elif kind in VIDEO:
            said += VIDEO_MARK
            inside.videos.append(_path(part, place, VIDEO_PATHS))
        elif kind in _SOUND:
            raise BadRow("a sound", f"has a sound in turn {place}, and sounds are not read yet")
        else:
            raise BadRow(
                "a part of an unknown type",
                f"has in turn {place} a part of the type {shown(kind)}; known are text, image and video",
            )
    return said


def _unread(part: Mapping[str, Any], read: Collection[str]) -> list[str]:
    """Fields of a part that are not read, those beside an address (``image_url: {url, detail}``) among them."""
    found = [*check_fields(part, read, IN_A_PART)]
    for name in read:
        if isinstance(value := part.get(name), Mapping):
            found += check_fields(value, ("url",), IN_A_PART)
    return [f"{name} of a part" for name in found]


def _text(part: Mapping[str, Any], place: int) -> str:
    text = part.get("text")
    if not isinstance(text, str):
        raise BadRow("a part of another shape", f"has in turn {place} a text part without a 'text': {shown(part)}")
    return text


def _path(part: Mapping[str, Any], place: int, names: Sequence[str]) -> str | None:
    """The path that a part names; None if it names none."""
    found = [part[name] for name in names if not empty(part.get(name))]
    named = [one.get("url") if isinstance(one, Mapping) else one for one in found]
    if not named:
        return None
    path = named[0]
    if not isinstance(path, str) or not path or any(one != path for one in named):
        raise BadRow(
            "an image that is no path", f"has in turn {place} an image or a video that is no path: {shown(found)}"
        )
    return path
