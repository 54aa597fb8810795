"""Images at an address that fsspec opens, such as ``s3://bucket/images``: read where they are, one request an image."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from errno import EINVAL
from functools import cached_property
from posixpath import normpath
from types import SimpleNamespace
from typing import BinaryIO, TypeVar

import fsspec

from selectmm.errors import UserError
from selectmm.pool.bad import excerpt, shown
from selectmm.pool.passing import not_now

# Of all that fsspec opens: what lists files with their sizes, and names no code and no file of this machine; and the
# package that each needs, which is the user's to install.
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub"}
PACKAGES |= {"memory": "fsspec"}
Answer = TypeVar("Answer")
CACHE = "simplecache::"  # in front of an address: what was read is kept on this machine


@dataclass(frozen=True)
class Remote:
    """One file at an address: what of `pathlib.Path` is needed to read it."""

    address: str
    relative: str

    def __str__(self) -> str:
        return f"{self.address}/{self.relative}"

    def open(self, _mode: str = "rb") -> BinaryIO:
        """The file's bytes, fetched whole.

        Raises:
            FileNotFoundError: there is no such file.
            NotNow: it cannot be fetched. Why, each file system says in its own way; none of it is about the content.
        """
        return io.BytesIO(self._asked(_content))

    def stat(self) -> SimpleNamespace:
        """The file's size; addresses have no time of change that all of them know.

        Raises:
            FileNotFoundError, NotNow: as `open`.
        """
        return SimpleNamespace(st_size=self._asked(_size), st_mtime_ns=0)

    def _asked(self, ask: Callable[[fsspec.AbstractFileSystem, str], Answer]) -> Answer:
        """What the file system, which fsspec keeps, for each process anew, answers about the file's path there.

        The file's name is added last: fsspec would take a name with ``::`` for a chain of addresses, and read another
        file, of this machine even.
        """
        tidy, *others = _spellings(self.relative)
        try:
            system, path = fsspec.url_to_fs(self.address)
            start = path.rstrip("/")
            try:
                return ask(system, f"{start}/{tidy}")
            except FileNotFoundError:
                if not others:
                    raise
                return ask(system, f"{start}/{others[0]}")
        except FileNotFoundError:
            raise
        except Exception as problem:  # no network, an expired token, a server that is busy
            raise not_now(excerpt(self), _said(problem), "check the credentials and the network") from problem


def _spellings(relative: str) -> list[str]:
    """Names that a path may have at an address: without ``./`` and ``//``, as it has in a folder, and as it is written.

    In a bucket ``a//1.png`` is a name of its own.
    """
    return list(dict.fromkeys([normpath(relative), relative]))


def _content(system: fsspec.AbstractFileSystem, path: str) -> bytes:
    try:
        return system.cat_file(path, start=0)  # without a start, s3fs asks for the size first
    except OSError as problem:
        if problem.errno != EINVAL or _size(system, path):
            raise
        return b""  # an empty file has no first byte, and S3 refuses to begin there


def _size(system: fsspec.AbstractFileSystem, path: str) -> int:
    return int(system.info(path)["size"])


@dataclass(frozen=True)
class Address:
    """An address as an image folder."""

    address: str

    def __str__(self) -> str:
        return self.address

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle for another process, without the listing."""
        return Address, (self.address,)

    def size(self, relative: str) -> int | None:
        """Bytes of the file of that name; None if there is none.

        Raises:
            UserError: see `sizes`.
        """
        return next((self.sizes[name] for name in _spellings(relative) if name in self.sizes), None)

    def file(self, relative: str) -> Remote:
        """The file of that name, whether it is there or not: to ask would take a request."""
        return Remote(self.address, relative)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of every file at the address, by its path below it; listed once.

        Raises:
            UserError: the address cannot be listed.
        """
        try:
            system, path = fsspec.url_to_fs(self.address)
            found = system.find(path, detail=True)
        except Exception as problem:  # each file system raises its own: no such bucket, no credentials, no network
            raise UserError(
                f"The images at {self.address} cannot be listed ({_said(problem)}); check the address, the credentials "
                f"and the network."
            ) from problem
        start = len(path.rstrip("/")) + 1
        return {name[start:]: int(entry["size"]) for name, entry in found.items()}


def address_of(text: str) -> Address:
    """An address as a user wrote it.

    Raises:
        UserError: it is of no kind that is read, or its package is not installed.
    """
    kind = text.removeprefix(CACHE).partition("://")[0]
    if kind not in PACKAGES:
        raise UserError(
            f"Images cannot be read from {shown(text)}: addresses begin with one of "
            f"{', '.join(f'{name}://' for name in PACKAGES)}; fetch the images into a folder, or mount it."
        )
    try:
        fsspec.get_filesystem_class(kind)
    except ImportError as problem:
        raise UserError(
            f"To read images from {kind}:// the package {PACKAGES[kind]} is needed; pip install {PACKAGES[kind]}."
        ) from problem
    return Address(text.rstrip("/"))


def _said(problem: Exception) -> str:
    return shown(str(problem).strip() or type(problem).__name__).strip("'\"")
