"""Images at an address that fsspec opens, such as ``s3://bucket/images``: read where they are, one request an image."""

import io
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import BinaryIO

import fsspec

from selectmm.errors import UserError
from selectmm.pool.bad import shown

# Of all that fsspec opens: what lists files with their sizes, and names no code and no file of this machine; and the
# package that each needs, which is the user's to install.
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "hf": "huggingface_hub"}
PACKAGES |= {"memory": "fsspec"}
CACHE = "simplecache::"  # in front of an address: what was read is kept on this machine


@dataclass(frozen=True)
class Remote:
    """One file at an address: what of `pathlib.Path` is needed to read it."""

    address: str
    relative: str

    def __str__(self) -> str:
        return f"{self.address}/{self.relative}"

    def open(self, _mode: str = "rb") -> BinaryIO:
        """The file's bytes, fetched whole."""
        system, path = self._place()
        return io.BytesIO(system.cat_file(path, start=0))  # without a start, s3fs asks for the size first

    def stat(self) -> SimpleNamespace:
        """Its size; addresses have no time of change that all of them know."""
        system, path = self._place()
        return SimpleNamespace(st_size=system.info(path)["size"], st_mtime_ns=0)

    def _place(self) -> tuple[fsspec.AbstractFileSystem, str]:
        """The file system, which fsspec keeps, for each process anew; and the file's path there.

        The file's name is added last: fsspec would take a name with ``::`` for a chain of addresses, and read another
        file, of this machine even.
        """
        system, path = fsspec.url_to_fs(self.address)
        return system, f"{path.rstrip('/')}/{self.relative}"


@dataclass(frozen=True)
class Address:
    """An address as an image folder."""

    address: str

    def __str__(self) -> str:
        return self.address

    def __reduce__(self) -> tuple[object, ...]:
        """For another process: without the listing."""
        return Address, (self.address,)

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
