"""Read WebDataset's tar shards: a row in each ``key.json``, and what it shows beside it (``key.jpg``, ``key.mp4``)."""

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Literal

from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, absent, empty, shown
from selectmm.pool.examine import healthy
from selectmm.pool.image import FORMATS
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, opened, read_rows
from selectmm.pool.shards import Member, Shards, shards_of
from selectmm.pool.sharegpt import ChatReader
from selectmm.pool.stream import Raw
from selectmm.pool.system import System

CLIPS = frozenset({"mp4", "mov", "mkv", "webm", "avi"})
_DIGITS = re.compile("([0-9]+)")


def open_webdataset(
    tars: str, bad_rows: Literal["stop", "drop", "keep"], cache: str, system: System, source: str
) -> Pool:
    """Open the tars of a data set as a pool; nothing is unpacked.

    A row is the JSON in ``key.json``, in LLaVA's or ShareGPT's form. If it names no images, those beside it are shown
    (``key.jpg``, then ``key.1.jpg``, ``key.2.jpg``, …, ``key.10.jpg``), and so are clips; a path that it names is a
    name in the tars. Other files beside it are counted as fields that are not read.

    Args:
        tars: a pattern (``/data/shards/*.tar``) or one tar.
        bad_rows, cache, system, source: as for `selectmm.pool.sharegpt.open_sharegpt`.

    Raises:
        UserError: see `shards_of` and `rows_of`; or bad rows were found and are not to be dropped.
    """
    shards = shards_of(tars, Path(cache))
    reader = ChatReader(system, source)
    identity = {"reader": "webdataset", "tars": shards.states, "system": system, "source": source}
    named = File(f"{tars} (counted over its tars in the order of their names)", option="pool.tars")
    folder, noted = read_rows(Path(cache), identity, named, lambda _: _rows(shards), reader)
    return healthy(opened(folder, shards, {"rows": noted.content}), noted, bad_rows, Path(cache), folder)


def _rows(shards: Shards) -> Iterator[Raw]:
    for number, member, beside in rows_of(shards):
        yield number, _row(member, _key(member), sorted((other.name for other in beside), key=_order))


@cache
def _images() -> frozenset[str]:
    """Endings of the images that are read; PFM's pixels are floats, which are not (`selectmm.pool.image.rgb`)."""
    Image.init()
    return frozenset(end[1:] for end, kind in Image.registered_extensions().items() if kind in FORMATS) - {"pfm"}


def rows_of(shards: Shards) -> Iterator[tuple[int, Member, list[Member]]]:
    """Place, JSON and other files of each row, in the tars' order.

    Files of one key lie together, as WebDataset wants them; each ``.json`` of a key is a row.

    Raises:
        UserError: files of a row's key lie apart in a tar, so that the row would lose those that come later.
    """
    number, tar = 0, None
    finished: dict[str, bool] = {}  # keys of this tar, and whether they have a row: files without one may lie anywhere
    for key, group in groupby(shards.members(), key=_key):
        members = list(group)
        rows = [member for member in members if _ending(member.name) == "json"]
        if members[0].tar == tar and (finished.get(key) or (rows and key in finished)):
            raise UserError(
                f"The files of {shown(key)} do not lie together in {tar}, so that rows would lose their images; make "
                f"the tar again with tar --sort=name."
            )
        if members[-1].tar != tar:
            tar, finished = members[-1].tar, {}
        finished[key] = bool(rows)
        beside = [member for member in members if member not in rows]
        for member in rows:
            yield number, member, beside
            number += 1


def _key(member: Member) -> str:
    """The name up to the first dot of its last part."""
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _ending(name: str) -> str:
    """What follows the last dot of a name, in small letters; empty without one."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return ending.lower() if dot else ""


def _order(name: str) -> tuple[bool, list[tuple[bool, int, str]], str]:
    """What a key's images are sorted by: ``key.png`` comes first, then ``key.2.png``, then ``key.10.png``."""
    middle, dot, _ = name.rpartition("/")[2].partition(".")[2].rpartition(".")
    return bool(dot), [_counted(part) for part in _DIGITS.split(middle)], name


def _counted(part: str) -> tuple[bool, int, str]:
    """What a part of a name is sorted by: digits as the number they are, before any other text.

    They are compared by their count and then as text, because a name may have more digits than `int` reads.
    """
    digits = part.lstrip("0")
    return (False, len(digits), digits) if part.isdecimal() else (True, 0, part)


def _row(member: Member, key: str, beside: list[str]) -> object:
    """The row, with the images and clips beside it unless it names some, and a field for each other ending there."""
    with member.open() as stream:
        text = stream.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        return BadRow("JSON that cannot be read", f"is {shown(str(member))}, which is no JSON ({problem!s:.100})")
    if isinstance(content, dict):
        if absent(content.get("id")):
            content["id"] = key
        for kind, endings in (("image", _images()), ("video", CLIPS)):
            found = [name for name in beside if _ending(name) in endings]
            if found and empty(content.get(kind)) and empty(content.get(f"{kind}s")):
                content[f"{kind}s"] = found
        others = {_ending(name) for name in beside} - _images() - CLIPS
        content |= {f"{ending or 'another'} file beside it": True for ending in sorted(others)}
    return content
