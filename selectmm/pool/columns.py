"""Rows of an Arrow table, as parquet files and hub data sets hold them; images inside become files."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from selectmm.cache.no_links import open_unlinked, refuse_links
from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.content import IMAGE, PATHS, VIDEO, VIDEO_PATHS
from selectmm.pool.image_path import below
from selectmm.pool.stream import Raw

TURNS = ("messages", "conversations")
ROWS_AT_ONCE = 256  # rows are long where they hold images
NAMED = "by their own paths"  # part of what such tables are cached by: how images inside are named
LONGEST_PART = 100  # bytes of a folder's or an ending's name that are taken from an image's own path


def check_columns(names: Iterable[str], what: str) -> None:
    """A table of conversations has a column of turns.

    Raises:
        UserError: naming the columns that are there.
    """
    names = list(names)
    if not set(TURNS) & set(names):
        listed = ", ".join(shown(name) for name in names[:20]) + (", …" if len(names) > 20 else "")
        raise UserError(f"{what} has no column 'messages' or 'conversations'; it has: {listed}.")


def table_rows(batches: Iterable[pa.Table | pa.RecordBatch], images: Path | None) -> Iterator[Raw]:
    """The rows as mappings whose images are paths: the table's own, or below ``images`` if that is given.

    Args:
        images: folder that the bytes of images are written to, each once; None if paths count.
    """
    index = 0
    for batch in batches:
        for row in _rows(batch):
            yield index, row if isinstance(row, BadRow) else _with_paths(row, images)
            index += 1


def _rows(batch: pa.Table | pa.RecordBatch) -> Iterator[dict[str, Any] | BadRow]:
    """Row by row if one of them is damaged, as by a text that is no UTF-8."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, pa.ArrowException):  # UnicodeDecodeError is a ValueError
        pass
    for index in range(batch.num_rows):
        try:
            yield batch.slice(index, 1).to_pylist()[0]
        except (ValueError, pa.ArrowException) as problem:
            yield BadRow("damaged values", f"cannot be read: {shown(str(problem))}")


def _with_paths(row: dict[str, Any], images: Path | None) -> dict[str, Any] | BadRow:
    """The row with a path for each image in ``image``, ``images`` and content lists, as far as these say something.

    So of clips in ``video``, ``videos`` and content lists, which are files of their own.
    """
    try:
        for name in ("image", "images"):
            cell = row.get(name)
            if empty(cell):
                row.pop(name, None)
            elif isinstance(cell, list):
                row[name] = [_path(one, images) for one in cell]
            else:
                row[name] = _path(cell, images)
        for name in ("video", "videos"):
            cell = row.get(name)
            if not empty(cell):
                row[name] = [_clip(one, images) for one in cell] if isinstance(cell, list) else _clip(cell, images)
        for part in _showing_parts(row):
            clip = part["type"] in VIDEO
            for name in VIDEO_PATHS if clip else PATHS:
                cell = part.get(name)
                if not (empty(cell) or (isinstance(cell, Mapping) and "url" in cell)):
                    part[name] = _clip(cell, images) if clip else _path(cell, images)
    except BadRow as problem:
        return problem
    return row


def _showing_parts(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of content lists that show images or clips."""
    for turns in map(row.get, TURNS):
        for turn in turns if isinstance(turns, list) else ():
            for parts in turn.values() if isinstance(turn, dict) else ():
                for part in parts if isinstance(parts, list) else ():
                    if isinstance(part, dict) and part.get("type") in IMAGE | VIDEO:
                        yield part


def _path(cell: object, images: Path | None) -> str:
    """Path of an image that is a path, bytes, or Hugging Face's ``{bytes, path}``."""
    named = cell.get("path") if isinstance(cell, Mapping) else cell
    if images is None:
        if isinstance(named, str) and named:
            return named
        raise BadRow(
            "an image without a path",
            "has an image without a path; set pool.images=null to use the images inside the file",
        )
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(content, bytes):
        raise BadRow(
            "an image that is only a path",
            f"has an image that is only a path ({shown(named)}); set pool.images to the folder that it is relative to",
        )
    return _written(content, named if isinstance(named, str) else "", images)


def _clip(cell: object, images: Path | None) -> object:
    """Path of a clip that is a path, or ``{bytes, path}`` without bytes; of another kind, what it is."""
    inside = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if isinstance(inside, bytes) and inside:
        raise BadRow(
            "a clip inside the table",
            "has a clip inside the table, and clips are read from files alone; write them to files, name their paths, "
            "and set pool.images to the folder that these are relative to",
        )
    if images is not None:
        raise BadRow(
            "a clip in a table that holds its images",
            "has a clip, and pool.images=null is for images inside the table; write the images to files beside the "
            "clips, and set pool.images to their folder",
        )
    return cell.get("path") if isinstance(cell, Mapping) else cell


def _written(content: bytes, named: str, images: Path) -> str:
    """Write an image unless it is there, under its own path, so that its rows are those of a folder that has it there.

    It is named by its content instead, below the first folder of its own path, if it has no path that a file of
    ``images`` can have, or if an image of an earlier row with other content has it already.
    """
    if _own(named) and _kept(content, images, named):
        return named
    parts = PurePosixPath(named).parts
    folder = parts[0] if len(parts) > 1 and parts[0] not in ("/", "..", ".") and _usable(parts[0]) else "images"
    ending = PurePosixPath(named).suffix
    name = sha256(content).hexdigest()[:32]
    # Thousands of files in one folder are slow.
    relative = f"{folder}/{name[:2]}/{name}{ending if _usable(ending) else ''}"
    if not _kept(content, images, relative):
        raise BadRow(
            "an image whose path is taken",
            f"has an image at {shown(named)}, where another image lies, or a folder of images; rename one of them",
        )
    return relative


def _own(named: str) -> bool:
    """Whether an image's path can be that of a file below a folder, whatever the folder."""
    try:
        return bool(named) and named.isprintable() and not named.endswith(("/", "/.")) and below(named, ()) == named
    except BadRow:
        return False


def _kept(content: bytes, images: Path, relative: str) -> bool:
    """Whether the file has this content, written now if there was none.

    Raises:
        UserError: it, or a folder that it lies in, is a link.
    """
    path = images / relative
    refuse_links(parent for parent in path.parents if parent.is_relative_to(images))
    try:
        if path.exists():
            return path.stat().st_size == len(content) and path.read_bytes() == content
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{sha256(path.name.encode()).hexdigest()[:32]}")
        with open_unlinked(beside, "wb") as file:
            file.write(content)
        beside.replace(path)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):  # a folder there, or a file where one is needed
        return False
    return True


def _usable(name: str) -> bool:
    """Whether a stranger's word can be part of a file's name: printable, and short beside our own part of it."""
    return name.isprintable() and len(name.encode()) <= LONGEST_PART
