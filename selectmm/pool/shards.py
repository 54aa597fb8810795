"""Images in tar files, read where they lie: nothing is unpacked.

The tars' headers are read once, into an index in the cache that says where each file begins. A file is then one seek
away, in any order and from any process. WebDataset keeps images so, and many data sets are handed around so.
"""

import io
import json
import os
import stat
import tarfile
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from itertools import pairwise
from os.path import normpath
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, cast

import pyarrow as pa

from selectmm.cache.no_links import open_new
from selectmm.cache.progress import track
from selectmm.cache.stage import run_stage
from selectmm.errors import UserError
from selectmm.pool.bad import excerpt, shown
from selectmm.pool.passing import NotNow

INDEX = "shards.arrow"
TARS = b"tars"  # key of the index's metadata: path, bytes and time of change of each tar
PIECE = 2**20  # bytes read at a time
VERSION = 2  # of how tars are read; another number indexes every tar again
PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


@dataclass(frozen=True)
class Member:
    """A file inside a tar: what of `pathlib.Path` is needed to read it.

    Attributes:
        state: bytes and time of change of the tar when it was indexed.
    """

    tar: Path
    name: str
    start: int
    size: int
    state: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name} in {self.tar}"

    def open(self, _mode: str = "rb") -> BinaryIO:
        """The file's bytes, as a stream of their own.

        Raises:
            NotNow: the tar has changed, so that other bytes may lie there: no verdict on the file.
        """
        stream = self.tar.open("rb", buffering=0)
        found = os.fstat(stream.fileno())
        if (found.st_size, found.st_mtime_ns) != self.state:
            stream.close()
            raise NotNow(_CHANGED.format(self.tar))
        return io.BufferedReader(_Part(stream, self.start, self.size))

    def stat(self) -> SimpleNamespace:
        """The file's size and kind, and when the tar was changed."""
        return SimpleNamespace(st_size=self.size, st_mode=stat.S_IFREG, st_mtime_ns=self.tar.stat().st_mtime_ns)


class _Part(io.RawIOBase):
    """Bytes ``start`` to ``start + size`` of a file, which is closed with them."""

    def __init__(self, file: io.FileIO, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer)[: max(0, self._size - self._at)]
        self._file.seek(self._start + self._at)
        read = self._file.readinto(wanted) or 0
        self._at += read
        return read

    def close(self) -> None:
        self._file.close()
        super().close()


@dataclass(frozen=True)
class Shards:
    """Some tars as an image folder.

    Attributes:
        pattern: the tars, as a user named them.
        index: `INDEX`, as `shards_of` writes it: sorted names, and of each its tar, start and size.
    """

    pattern: str
    index: Path

    def __str__(self) -> str:
        return self.pattern

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle for another process, without the open index."""
        return Shards, (self.pattern, self.index)

    def file(self, relative: str) -> Member | None:
        """The file of that name; None if no tar has it.

        Raises:
            UserError: its tar was changed or removed since it was indexed.
        """
        names, wanted = self._table["name"], normpath(relative)
        place = bisect_left(range(len(names)), wanted, key=lambda row: names[row].as_py())
        if place == len(names) or names[place].as_py() != wanted:
            return None
        tar, start, size = (self._table[column][place].as_py() for column in ("tar", "start", "size"))
        return self._member(tar, wanted, start, size)

    def members(self) -> Iterator[Member]:
        """Every file, tar after tar, in the order in which it lies there.

        Raises:
            UserError: as `file`.
        """
        rows = self._table.sort_by([("tar", "ascending"), ("start", "ascending")])
        for batch in rows.to_batches(max_chunksize=10_000):
            for row in batch.to_pylist():
                yield self._member(row["tar"], row["name"], row["start"], row["size"])

    @cached_property
    def _table(self) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.index))).read_all().combine_chunks()

    @cached_property
    def states(self) -> list[list[Any]]:
        """Path, bytes and time of change of each tar when it was indexed."""
        return json.loads(self._table.schema.metadata[TARS])

    @cached_property
    def _known(self) -> set[int]:
        """Tars that this process has found to be as they were indexed."""
        return set()

    def _member(self, tar: int, name: str, start: int, size: int) -> Member:
        _, whole, changed = self.states[tar]
        return Member(self._checked(tar), name, start, size, (whole, changed))

    def _checked(self, number: int) -> Path:
        path = Path(self.states[number][0])
        if number not in self._known:
            if not path.is_file() or _state_of(path) != self.states[number]:
                raise UserError(_CHANGED.format(path))
            self._known.add(number)
        return path


_CHANGED = "{} was changed after its images were indexed; start the command again."


def shards_of(pattern: str, cache: Path) -> Shards:
    """The tars that a pattern names (``/data/shards/*.tar``, or one tar), indexed once per state of the tars.

    Raises:
        UserError: there are none, one is compressed or no whole tar, one holds a link or a name that leaves it, or two
            hold a file of the same name.
    """
    packed = [path for path in sorted(glob(pattern)) or [pattern] if path.endswith(COMPRESSED)]
    if packed:
        raise UserError(
            f"{packed[0]} is compressed, so that its images cannot be read in any order; decompress it to a .tar."
        )
    tars = [Path(path).resolve() for path in sorted(glob(pattern))]
    if not tars:
        raise UserError(f"There is no tar file {shown(pattern)}; set pool.images to the tars of the pool's images.")
    states = [_state_of(path) for path in tars]
    identity = {"tars": states, "version": VERSION}
    made = run_stage(cache, "shard-index", identity, lambda folder: _write(states, folder / INDEX))
    return Shards(pattern, made.folder / INDEX)


def _state_of(path: Path) -> list[object]:
    found = path.stat()
    return [str(path), found.st_size, found.st_mtime_ns]


def _write(states: Sequence[list[object]], file: Path) -> None:
    paths = [str(path) for path, *_ in states]
    each = track(enumerate(paths), "indexing tars", len(paths))
    found = sorted((name, number, start, size) for number, path in each for name, start, size in _members(path))
    for (name, first, *_), (other, second, *_) in pairwise(found):
        if name == other:
            raise UserError(
                f"{shown(name)} is in {paths[first]} and in {paths[second]}; which of the two a row means cannot be "
                f"known: take one out, or set pool.images to fewer tars."
            )
    columns: list[Any] = list(zip(*found, strict=True)) or [[], [], [], []]
    kinds = {"name": pa.large_string(), "tar": pa.int32(), "start": pa.int64(), "size": pa.int64()}
    schema = pa.schema(list(kinds.items()), metadata={TARS: json.dumps(states)})
    arrays = [pa.array(values, kind) for values, kind in zip(columns, kinds.values(), strict=True)]
    with open_new(file) as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))


def _members(path: str) -> Iterator[tuple[str, int, int]]:
    """Name, start and size of every file."""
    try:
        with tarfile.open(path, "r:") as tar:
            before = -1
            for member in tar:
                cast(Any, tar).members = []  # or it remembers all of them
                if member.size < 0 or member.offset_data <= before:  # which would lead back, and round and round
                    raise tarfile.ReadError("a header is corrupt")
                before = member.offset_data
                _check_member(member, path)
                if not member.isdir():
                    yield normpath(member.name), member.offset_data, member.size
            tar.fileobj.seek(tar.offset)
            if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):  # which tarfile takes for the end
                raise tarfile.ReadError("its last header is cut off")
            while rest := tar.fileobj.read(PIECE):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("more follows behind its end, as in tars that were joined by cat")
    except UserError:
        raise
    except Exception as problem:  # odd headers: TarError, ValueError, OverflowError, IndexError, RecursionError, …
        raise UserError(f"{path} is not a whole tar file ({excerpt(problem)}); fetch it again.") from problem


def _check_member(member: tarfile.TarInfo, path: str) -> None:
    """Only folders and plain files whose names stay below the tar's root: a link has no bytes of its own to read."""
    if not (member.type in PLAIN and not member.issparse()) and not member.isdir():
        what = "a link" if member.islnk() or member.issym() else "neither a plain file nor a folder"
        advice = "make the tar again with the files themselves (tar --dereference --hard-dereference)"
    elif member.name.startswith("/") or ".." in member.name.split("/"):
        what, advice = "a name that leaves the tar's own folder", "make the tar again with relative names, without '..'"
    elif not member.name.isprintable():
        what, advice = "a name with characters that cannot be printed", "make the tar again with another name"
    else:
        return
    raise UserError(f"{shown(member.name)} in {path} is {what}, which is not read; {advice}.")
