"""Rows of an Arrow table, as parquet files and hub data sets hold them; images inside become files."""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path, PurePosixPath

import pyarrow as pa

from selectmm.errors import UserError
from selectmm.pool.stream import Raw

TURNS = ("messages", "conversations")
ROWS_AT_ONCE = 256  # rows are long where they hold images


def check_columns(names: Iterable[str], what: str) -> None:
    """A table of conversations has a column of turns.

    Raises:
        UserError: naming the columns that are there.
    """
    names = list(names)
    if not set(TURNS) & set(names):
        raise UserError(f"{what} has no column 'messages' or 'conversations'; it has: {', '.join(names)}.")


def table_rows(batches: Iterable[pa.Table | pa.RecordBatch], what: str, images: Path | None) -> Iterator[Raw]:
    """The rows as mappings whose image is a path: the table's own, or below ``images`` if that is given.

    Args:
        images: folder that the bytes of images are written to, each once, named by their hash; None if paths count.
    """
    index = 0
    for batch in batches:
        for row in batch.to_pylist():
            where = f"Row {index} of {what}"
            cell = row.pop("images", None) or row.pop("image", None)
            cells = cell if isinstance(cell, list) else [] if cell is None else [cell]
            yield where, {**row, "images": [_path(one, images, where) for one in cells]}
            index += 1


def _path(cell: object, images: Path | None, where: str) -> str:
    """Path of an image that is a path, bytes, or Hugging Face's ``{bytes, path}``."""
    named = cell.get("path") if isinstance(cell, Mapping) else cell
    if images is None:
        if isinstance(named, str) and named:
            return named
        raise UserError(f"{where} has an image without a path; set pool.images=null to use the images inside the file.")
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(content, bytes):
        raise UserError(
            f"{where} has an image that is only a path ({named}); set pool.images to the folder that it is relative to."
        )
    return _written(content, named if isinstance(named, str) else "", images)


def _written(content: bytes, named: str, images: Path) -> str:
    """Write an image unless it is there; its name says its content, its folder the original's first folder."""
    parts = PurePosixPath(named).parts
    folder = parts[0] if len(parts) > 1 and parts[0] not in ("/", "..", ".") else "images"
    name = sha256(content).hexdigest()[:32]
    relative = f"{folder}/{name[:2]}/{name}{PurePosixPath(named).suffix}"  # thousands of files in a folder are slow
    path = images / relative
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}")
        beside.write_bytes(content)
        beside.replace(path)
    return relative
