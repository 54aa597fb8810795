"""Read WebDataset's tar shards: a row in each ``key.json``, and its images beside it in the same tar (``key.jpg``)."""

import json
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Literal

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, absent, empty, shown
from selectmm.pool.examine import healthy
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, opened, read_rows
from selectmm.pool.shards import Member, Shards, shards_of
from selectmm.pool.sharegpt import ChatReader
from selectmm.pool.stream import Raw
from selectmm.pool.system import System

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "ppm")
_DIGITS = re.compile("([0-9]+)")


def open_webdataset(
    tars: str, bad_rows: Literal["stop", "drop", "keep"], cache: str, system: System, source: str
) -> Pool:
    """Open the tars of a data set as a pool; nothing is unpacked.

    A row is the JSON in ``key.json``, in LLaVA's or ShareGPT's form. If it names no images, those beside it are shown
    (``key.jpg``, then ``key.1.jpg``, ``key.2.jpg``, …, ``key.10.jpg``); a path that it names is a name in the tars.

    Args:
        tars: a pattern (``/data/shards/*.tar``) or one tar.
        bad_rows, cache, system, source: as for `selectmm.pool.sharegpt.open_sharegpt`.

    Raises:
        UserError: see `shards_of` and `rows_of`; or bad rows were found and are not to be dropped.
    """
    shards = shards_of(tars, Path(cache))
    reader = ChatReader(system, source)
    identity = {"reader": "webdataset", "tars": shards.states, "system": system, "source": source}
    named = File(f"{tars} (counted over its tars in the order of their names)")
    folder, noted = read_rows(Path(cache), identity, named, lambda _: _rows(shards), reader)
    return healthy(opened(folder, shards, {"rows": noted.content}), noted, bad_rows, Path(cache), folder)


def _rows(shards: Shards) -> Iterator[Raw]:
    for number, member, beside in rows_of(shards):
        images = [other.name for other in beside if other.name.rpartition(".")[2].lower() in IMAGES]
        yield number, _row(member, _key(member), sorted(images, key=_order))


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
        rows = [member for member in members if member.name.endswith(".json")]
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


def _row(member: Member, key: str, images: list[str]) -> object:
    with member.open() as stream:
        text = stream.read()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as problem:
        return BadRow("JSON that cannot be read", f"is {shown(str(member))}, which is no JSON ({problem!s:.100})")
    if isinstance(content, dict):
        if absent(content.get("id")):
            content["id"] = key
        if images and empty(content.get("image")) and empty(content.get("images")):
            content["images"] = images
    return content
