"""Read parquet as Hugging Face writes it: a column of turns, and images as paths or inside as ``{bytes, path}``."""

from collections.abc import Iterator
from os.path import isdir, isfile
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from selectmm.errors import UserError
from selectmm.pool.columns import NAMED, ROWS_AT_ONCE, check_columns, table_rows
from selectmm.pool.examine import healthy
from selectmm.pool.image_path import roots_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import File, opened, read_rows
from selectmm.pool.root import root_of
from selectmm.pool.sharegpt import ChatReader
from selectmm.pool.stream import Raw
from selectmm.pool.system import System


def open_parquet(
    file: str, images: str | None, bad_rows: Literal["stop", "drop", "keep"], cache: str, system: System, source: str
) -> Pool:
    """Open a parquet file, or a folder's parquet files in the order of their names, as a pool.

    The files are known by name, size and time of last change, because to hash the images inside takes long; the pool's
    fingerprint follows from the rows and images themselves.

    Args:
        images: the folder that the image paths are relative to; None for images inside the files, which are written to
            the cache once.
        bad_rows, cache, system, source: as for `selectmm.pool.sharegpt.open_sharegpt`.

    Raises:
        UserError: there is no such file, it has no column of turns, or bad rows were found.
    """
    files = files_of(Path(file))
    root = None if images is None else root_of(images, cache)
    known = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
    reader = ChatReader(system, source, () if root is None else roots_of(root))
    identity = {
        "reader": "parquet",
        "files": known,
        "system": system,
        "source": source,
        "inside": images is None and NAMED,
        "roots": reader.roots,
    }

    def raw(folder: Path) -> Iterator[Raw]:
        return table_rows(_batches(files), folder / "images" if root is None else None)

    named = File(
        file if len(files) == 1 else f"{file} (counted over its {len(files)} files in the order of their names)"
    )
    folder, noted = read_rows(Path(cache), identity, named, raw, reader)
    pool = opened(folder, root or folder / "images", {"rows": noted.content})
    return healthy(pool, noted, bad_rows, Path(cache), folder)


def files_of(path: Path) -> list[Path]:
    """The parquet files that are read, in order.

    Raises:
        UserError: there are none.
    """
    files = sorted(path.glob("*.parquet")) if isdir(path) else [path]
    if not files or not isfile(files[0]):
        raise UserError(f"There is no parquet file at {path}; set pool.file to one, or to a folder that holds some.")
    return files


def _batches(files: list[Path]) -> Iterator[pa.RecordBatch]:
    for path in files:
        try:
            with pq.ParquetFile(path) as stored:
                check_columns(stored.schema_arrow.names, str(path))
                yield from stored.iter_batches(ROWS_AT_ONCE)
        except (pa.ArrowException, OSError) as problem:
            raise UserError(
                f"{path} is not a whole parquet file ({problem!s:.200}); download or export it again."
            ) from problem
