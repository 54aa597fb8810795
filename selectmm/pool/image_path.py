"""The images of a row: paths below the image folder, however the row names them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.root import Root

LONGEST_NAME, LONGEST_PATH = 255, 2_000  # bytes; Linux takes 255 and, with the image folder in front, 4,096

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def roots_of(folder: Root) -> tuple[str, ...]:
    """How an absolute path into the image folder may begin: as the folder was given, and with its links followed."""
    if not isinstance(folder, Path):
        return ()  # tars and addresses have relative names alone
    return tuple(dict.fromkeys([str(folder.absolute()), str(folder.resolve())]))


MOST_IMAGES = 256  # of a row: with 64 tokens each they would fill 16,384, more than any recipe here trains on


def images_of(
    row: Mapping[str, Any],
    roots: Sequence[str],
    inside: Sequence[str | None] = (),
    kind: Literal["image", "video"] = "image",
) -> tuple[str, ...]:
    """The paths in ``image`` or ``images`` (``video``, ``videos``), or in the row's turns, below the image folder.

    Args:
        roots: of `roots_of`; an absolute path that begins with one becomes relative.
        inside: the paths of images in the row's content lists, in order; None for one that names none.

    Raises:
        BadRow: there are too many, or what is named is no path below the image folder.
    """
    one, other = row.get(kind), row.get(f"{kind}s")
    if not inside and (one is None or other is None):  # nearly all rows; what is odd about the others is reported below
        alone = other if one is None else one
        if alone is None:
            return ()
        if alone.__class__ is str and alone:
            return (below(alone, roots),)
        if alone.__class__ is list and len(alone) <= MOST_IMAGES:
            if len(alone) == 1 and alone[0].__class__ is str and alone[0]:
                return (below(alone[0], roots),)
            for path in alone:
                if path.__class__ is not str or not path:
                    break
            else:
                return tuple([below(path, roots) for path in alone])
    named: dict[str, Any] = {kind: one, f"{kind}s": other, "messages": [path for path in inside if path is not None]}
    found = {name: _paths(value, name) for name, value in named.items() if not empty(value)}
    what = "an image" if kind == "image" else "a video"
    if inside and not found:
        raise BadRow(
            "an image part without a path",
            f"has {what} part that names no path, and no '{kind}s' that would; name the path of each {kind}",
        )
    if len(named["messages"]) not in (0, len(inside)):
        raise BadRow(
            "an image part without a path",
            f"has {what} part that names no path beside others that do; name a path in each of them, or in none and "
            f"all in '{kind}s'",
        )
    if not found:
        return ()
    first, *others = found.values()
    if any(paths != first for paths in others):
        fields = " and ".join(f"'{name}' {shown(named[name])}" for name in found)
        raise BadRow(
            "fields that contradict each other", f"has {fields}, which are not the same images; keep one of them"
        )
    if len(first) > MOST_IMAGES:
        raise BadRow(
            "too many images",
            f"has {len(first):,} {kind}s, and at most {MOST_IMAGES} of a row are read; split the row",
        )
    return tuple([below(path, roots) for path in first])


def _paths(value: object, name: str) -> list[str]:
    """The paths in a field that says something."""
    return [_one(one, name) for one in value] if isinstance(value, list) else [_one(value, name)]


def _one(value: object, name: str) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict) and name.startswith("video"):
        raise BadRow(
            "a clip that is an object", f"has a '{name}' that is an object, not a path: {shown(value)}; write the path"
        )
    if isinstance(value, dict):
        raise BadRow(
            "an image that is an object",
            f"has an '{name}' that is an object, not a path: {shown(value)}; write the path itself, or use "
            f"pool=parquet, which reads {{bytes, path}}",
        )
    raise BadRow("an image that is no path", f"has an '{name}' that is no path: {shown(value)}")


def below(path: str, roots: Sequence[str]) -> str:
    """The path relative to the image folder; one that is relative stays as it is written.

    Raises:
        BadRow: it cannot be a file below the image folder.
    """
    if path[0] != "/" and len(path) < 200 and path.isascii() and not (":" in path or ".." in path or "\0" in path):
        return path
    if path[:5].lower() == "data:":
        raise BadRow(
            "an image inside the row",
            f"has its image inside the file ({shown(path[:30])}), and such images are not read; write them to files "
            f"and name their paths, or use pool=parquet with {{bytes, path}}",
        )
    if _ADDRESS.match(path):
        raise BadRow(
            "an image address",
            f"has an address as its image: {shown(path)}; nothing is downloaded: fetch the images and name their paths",
        )
    _check_name(path)
    relative = next((path[len(root) :].lstrip("/") for root in roots if path.startswith(f"{root.rstrip('/')}/")), path)
    if relative.startswith("/") or not relative or ".." in PurePosixPath(relative).parts:
        raise BadRow(
            "an image path that leaves the image folder",
            f"has an image path that leaves the image folder: {shown(path)}; paths are relative to pool.images, "
            f"without '..', or absolute inside it",
        )
    return relative


def _check_name(path: str) -> None:
    """Whether a file can have that name."""
    if "\0" in path:
        raise BadRow("an image path with a NUL", f"has an image path with a NUL character: {shown(path)}")
    try:
        parts = [len(part) for part in path.encode().split(b"/")]
    except UnicodeEncodeError as problem:
        raise BadRow("half a character", f"has an image path with half a character: {shown(path)}") from problem
    if max(parts) > LONGEST_NAME or sum(parts) + len(parts) > LONGEST_PATH:
        raise BadRow(
            "an over-long image path",
            f"has an image path that is longer than a file system allows ({len(path):,} characters): {shown(path)}; "
            f"images inside the file are not read: write them to files",
        )


def source_of(image: str | None) -> str:
    """The first folder of an image's path below the image folder; ``images`` without one, ``text`` without image."""
    if image is None:
        return "text"
    first, _, rest = image.partition("/")
    if first not in ("", ".") and rest and rest[0] not in "./":
        return first
    parts = Path(image).parts  # slow, and it keeps every part it ever saw
    return parts[0] if len(parts) > 1 else "images"
