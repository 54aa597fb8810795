"""Write a pool's rows as its own file has them: bytes of JSON, lines, rows of a table with all of its columns, or tars.

The file is read again, so nothing has to be kept of what the pool does not use. Rows are found by their places in the
file (`selectmm.pool.pool.Pool.place_of`). Each class is an `selectmm.export.original.Original`.
"""

import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from os.path import normpath
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selectmm.errors import UserError
from selectmm.pool.columns import ROWS_AT_ONCE
from selectmm.pool.hub import load_split, state_of_data
from selectmm.pool.parquet import files_of
from selectmm.pool.pool import Pool
from selectmm.pool.shards import Member, Shards
from selectmm.pool.stream import LINES, json_texts
from selectmm.pool.table import PLACE
from selectmm.pool.webdataset import rows_of

CHANGED = "{} changed after the pool was read, so no rows were written; select again."


@dataclass(frozen=True)
class JsonFile:
    """A list in JSON, or a file with a row on each line."""

    file: Path

    @property
    def ending(self) -> str:
        """The ending of the exported file: ``.json``, or that of the file with a row on each line."""
        return self.file.suffix.lower() if self.file.suffix.lower() in LINES else ".json"

    def write(self, places: Sequence[int], to: Path) -> None:
        """Every row's bytes are those of the file; lines keep their ends, entries of a list stand on lines."""
        wanted = Counter(places)
        with to.open("w", encoding="utf-8", newline="") as out:
            out.writelines(self._lines(wanted) if self.ending in LINES else self._list(wanted))
        _check_found(wanted, str(self.file))

    def _lines(self, wanted: Counter[int]) -> Iterator[str]:
        for place, text in json_texts(self.file):
            line = text if text.endswith(("\n", "\r")) else f"{text}\n"  # the file's last line may have no end
            yield line * wanted.pop(place, 0)

    def _list(self, wanted: Counter[int]) -> Iterator[str]:
        between = "[\n"
        for place, text in json_texts(self.file):
            for _ in range(wanted.pop(place, 0)):
                yield between + text
                between = ",\n"
        yield "\n]\n"


@dataclass(frozen=True)
class ParquetFiles:
    """A parquet file, or a folder of them that are read as one."""

    path: Path
    ending: str = ".parquet"

    def write(self, places: Sequence[int], to: Path) -> None:
        """One file with the first one's columns, metadata and compression; row groups stay apart."""
        rows, start = np.asarray(places, np.int64), 0
        files = files_of(self.path)
        schema, compression = layout_of(files)
        with pq.ParquetWriter(to, schema, compression=compression) as out:
            for path in files:
                with pq.ParquetFile(path) as stored:
                    for group in range(stored.num_row_groups):
                        count = stored.metadata.row_group(group).num_rows
                        inside = rows[(rows >= start) & (rows < start + count)] - start
                        if len(inside):
                            batches = stored.iter_batches(ROWS_AT_ONCE, row_groups=[group])
                            out.write_table(pa.Table.from_batches(list(_taken(batches, inside)), schema))
                        start += count
        _check_found(Counter(rows[rows >= start].tolist()), str(self.path))


@dataclass(frozen=True)
class HubRows:
    """A data set of the hub, or a local folder laid out like one.

    Attributes:
        state: in which the pool was read, see `selectmm.pool.hub.state_of_data`.
    """

    dataset: str
    name: str | None
    revision: str
    split: str
    state: str
    ending: str = ".parquet"

    def write(self, places: Sequence[int], to: Path) -> None:
        """A parquet file with the data set's columns and features; images inside stay the bytes that they are.

        Raises:
            UserError: it has another state now than ``state``, the one that the pool was read in.
        """
        data = load_split(self.dataset, self.name, self.revision, self.split)
        if state_of_data(data) != self.state:
            raise UserError(CHANGED.format(f"Data set {self.dataset}"))
        rows, described = data.with_format("arrow"), data.features.arrow_schema.metadata
        with pq.ParquetWriter(to, rows[:0].schema.with_metadata(described)) as out:
            for table in rows.select(places).iter(ROWS_AT_ONCE):
                out.write_table(table.replace_schema_metadata(described))


@dataclass(frozen=True)
class TarFiles:
    """WebDataset's shards, as a pool reads them."""

    pool: Pool
    ending: str = ".tar"

    def write(self, places: Sequence[int], to: Path) -> None:
        """One tar with the rows' JSON, what lies beside each (all files of its key), and the images that it shows.

        Names, times, modes, owners and bytes are those of the shards, and so is their order.

        Raises:
            UserError: also if a row stands twice, which a tar has no place for.
        """
        shards = cast(Shards, self.pool.image_root)
        wanted = Counter(places)
        if len(wanted) < len(places):
            place = wanted.most_common(1)[0][0]
            raise UserError(f"Row {place} was chosen twice, and a tar holds each file once; use --format indices.")
        kept = self._names(wanted) | self._images(places)
        with tarfile.open(to, "w") as out:
            for tar, members in groupby(shards.members(), lambda member: member.tar):
                _copy(tar, {member.start: member for member in members if member.name in kept}, out)

    def _images(self, places: Sequence[int]) -> set[str]:
        """The images that they show, which may lie beside another row."""
        positions = np.flatnonzero(np.isin(self.pool.table[PLACE].to_numpy(), places)).tolist()
        return {normpath(image.path) for position in positions for image in self.pool[position].images}

    def _names(self, wanted: Counter[int]) -> set[str]:
        """The files of the rows at these places."""
        kept: set[str] = set()
        for place, member, beside in rows_of(cast(Shards, self.pool.image_root)):
            if wanted.pop(place, 0):
                kept.update([member.name, *(other.name for other in beside)])
        _check_found(wanted, str(self.pool.image_root))
        return kept


def _copy(tar: Path, members: dict[int, Member], out: tarfile.TarFile) -> None:
    """Write some files of a tar, given by where their bytes start there, with the headers that they have.

    Raises:
        UserError: the tar has no such headers any more.
    """
    with tarfile.open(tar, "r:") as source:
        for header in source if members else ():
            cast(Any, source).members = []  # or it remembers all of them
            member = members.get(header.offset_data) if header.isfile() else None
            if member is not None and (normpath(header.name), header.size) == (member.name, member.size):
                with member.open() as stream:
                    out.addfile(header, stream)
                del members[header.offset_data]
    if members:
        raise UserError(CHANGED.format(tar))


def layout_of(files: Sequence[Path]) -> tuple[pa.Schema, str]:
    """Columns and compression of the first file.

    Raises:
        UserError: another one has other columns.
    """
    with pq.ParquetFile(files[0]) as first:
        schema = first.schema_arrow
        groups = first.metadata.num_row_groups and first.metadata.num_columns
        compression = first.metadata.row_group(0).column(0).compression if groups else "SNAPPY"
    for path in files[1:]:
        if not pq.read_schema(path).equals(schema):
            raise UserError(
                f"{path} has other columns than {files[0]}, so their rows cannot be written as they are to one file; "
                f"use --format indices."
            )
    return schema, "NONE" if compression == "UNCOMPRESSED" else compression


def _taken(batches: Iterable[pa.RecordBatch], rows: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The batches' rows at ``rows``, which count over all batches."""
    start = 0
    for batch in batches:
        here = rows[(rows >= start) & (rows < start + batch.num_rows)] - start
        if len(here):
            yield batch.take(pa.array(here))
        start += batch.num_rows


def _check_found(left: Counter[int], file: str) -> None:
    if left:
        raise UserError(
            f"{file} has no row at place {min(left)} any more: it changed after the pool was read; select again."
        )
