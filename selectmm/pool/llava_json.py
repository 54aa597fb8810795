"""Read LLaVA's JSON: ``[{"id", "image", "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}, …]``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.content import Named
from selectmm.pool.examine import healthy
from selectmm.pool.fields import check_boxes, check_fields
from selectmm.pool.image_path import images_of, roots_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, LeftOut, Noted, content_of, opened, read_rows
from selectmm.pool.root import root_of
from selectmm.pool.row import Row, row_of
from selectmm.pool.stream import counted_in, json_rows
from selectmm.pool.system import System, check_system, joined, system_of
from selectmm.pool.tools import with_tools
from selectmm.pool.turns import LLAVA, list_of_turns, turns_of

SHAPE = 'LLaVA rows look like {"image": …, "conversations": [{"from": "human", "value": …}, {"from": "gpt", …}]}'


def open_llava_json(
    file: str,
    images: str,
    bad_rows: Literal["stop", "drop", "keep"],
    cache: str | Path,
    text_only: Literal["take", "leave_out"] = "take",
    source: str = "source",
    system: System = "stop",
) -> Pool:
    """Open a LLaVA JSON or JSONL file and its image folder as a pool.

    The file is parsed once into memory-mapped Arrow under ``cache``. Every image is then looked for and decoded once
    per state of the folder, and empty answers are counted, before anything long starts.

    Args:
        file: a list in JSON, or a row on each line if its name ends in ``.jsonl``.
        images: the folder that the image paths are relative to.
        bad_rows: what to do with rows that cannot be read, whose image is missing or broken or whose answer is empty:
            ``stop`` with a sentence, or ``drop`` them (counted in the record); ``keep`` is for who looks at them.
        cache: root of the stage cache.
        text_only: whether rows without an image are taken or left out.
        source: the field that names a row's source; in a row without it that is the first folder of the image path
            (``coco``, ``gqa``, …), or ``text``.
        system: what becomes of a row's system prompt, see `selectmm.pool.system.System`.

    Raises:
        UserError: the file is not LLaVA's, or bad rows were found and are not to be dropped.
    """
    if text_only not in ("take", "leave_out"):
        raise UserError(f"pool.text_only={text_only} is not valid; choose take or leave_out.")
    check_system(system)
    path, cache = Path(file), Path(cache)
    content, root = content_of(path), root_of(images, cache)
    asked = {"text_only": text_only, "source": source}
    more = {key: value for key, value in asked.items() if value != _DEFAULTS[key]}
    named = {"reader": "llava_json", "sha256": content, **more}
    reader = _Reader(text_only == "take", source, system, roots_of(root))
    identity = {**named, "counted_in": counted_in(path), "system": system, "roots": reader.roots}
    folder, noted = read_rows(cache, identity, File(file, counted_in(path)), lambda _: json_rows(path), reader)
    return healthy(opened(folder, root, _name_of(named, noted)), noted, bad_rows, cache, folder)


_DEFAULTS = {"text_only": "take", "source": "source"}  # not part of the identity, so that old pools keep theirs


def _name_of(named: dict[str, Any], noted: Noted) -> dict[str, Any]:
    """What the pool's fingerprint is made of: the file, as long as that says which rows they are.

    Version 1 is how pools were named whose texts were stripped by the reader; where there was nothing to strip, the
    pool is the same. Rows that earlier versions refused or read otherwise make another pool, which its rows name.
    """
    rows = {"rows": noted.content} if noted.anew or noted.untrained or noted.bad else {}
    return {**named, **rows, "version": 1 if noted.plain else 2}


@dataclass(frozen=True)
class _Reader:
    text_only: bool
    source: str
    system: System
    roots: tuple[str, ...]

    def __call__(self, content: object) -> Row | LeftOut:
        row = read_llava(content, self.source, self.system, self.roots)
        if self.text_only or row.images:
            return row
        # Earlier versions kept the only image of a question that is left out, and so the row.
        return LeftOut(row.trimmed and len(images_of(cast(dict[str, Any], content), self.roots)) == 1)


def read_llava(content: object, source: str = "source", system: System = "stop", roots: tuple[str, ...] = ()) -> Row:
    """A row as LLaVA writes it.

    Args:
        source: the field that names its source. system: what becomes of its system prompt.
        roots: of the image folder, see `selectmm.pool.image_path.roots_of`.

    Raises:
        BadRow: it does not have LLaVA's shape, or says something that is not read yet.
    """
    if not isinstance(content, dict):
        raise BadRow("another shape", f"is no object: {shown(content)}; {SHAPE}")
    said, prompt, inside = content.get("conversations"), "", Named([], [])
    unread: list[str] = []
    usual = _USUAL.issuperset(content)
    if not (usual or _READ.issuperset(content)):
        unread += check_fields(content, {*_READ, source})
    if said.__class__ is not list or not said or "messages" in content:
        said = _said(content)
    if "system" in content or (said[0].__class__ is dict and said[0].get("from") == "system"):
        prompt, said = system_of(content, said, LLAVA, unread)
    turns = turns_of(said, LLAVA, unread, inside)
    if "objects" in content:
        check_boxes(content, turns)
    images = images_of(content, roots, inside.images)
    videos: tuple[str, ...] = ()
    if inside.videos or not (usual or _VIDEOS.isdisjoint(content)):
        videos = images_of(content, roots, inside.videos, "video")
    # Earlier versions passed over 'images' and 'system', kept a path that began at the root, and refused all others.
    anew = bool(images) and (len(images) > 1 or any(inside) or images[0] != content.get("image") != [images[0]])
    if prompt:
        turns, anew = joined(turns, prompt, system), anew or system in ("join", "turn")
    if not usual:
        turns = with_tools(turns, content)
    anew = anew or bool(videos)
    return row_of(turns, images, content.get(source), content.get("id"), bool(prompt), tuple(unread), anew, videos)


_VIDEOS = frozenset({"video", "videos"})
_USUAL = frozenset({"id", "image", "conversations"})
_READ = frozenset({*_USUAL, "images", "messages", "system", "source", "tools", "functions", "video", "videos"})


def _said(content: dict[str, Any]) -> list[object]:
    """The turns, where they are not simply LLaVA's own list."""
    if empty(content.get("conversations")):
        other = "messages" if not empty(content.get("messages")) else ""
        hint = "but 'messages', which pool=sharegpt reads; use that" if other else f"or it is empty; {SHAPE}"
        raise BadRow("no turns", f"has no list 'conversations', {hint}")
    return list_of_turns(content, "conversations", "messages")
