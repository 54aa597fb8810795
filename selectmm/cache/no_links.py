"""Files of a stage are not written through links: where another user put one, what is written would be elsewhere."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, Literal, cast

from selectmm.errors import UserError


def open_unlinked(path: Path, mode: Literal["wb", "ab", "xb"]) -> BinaryIO:
    """Open a file to write into; a link is not followed.

    Raises:
        UserError: the path is a link.
    """
    try:
        return cast(BinaryIO, open(path, mode, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666)))
    except OSError as problem:
        if problem.errno != errno.ELOOP:
            raise
        raise linked(path) from problem


def open_new(path: Path) -> BinaryIO:
    """Open a new file to write into, in place of what lies there, be it a link."""
    path.unlink(missing_ok=True)
    return open_unlinked(path, "xb")


def refuse_links(paths: Iterable[Path]) -> None:
    """Look for links where a library is about to write, which opens files itself.

    Raises:
        UserError: one of the paths is a link.
    """
    for path in paths:
        if path.is_symlink():
            raise linked(path)


def linked(path: Path) -> UserError:
    """What to say of a link in a stage's folder."""
    return UserError(f"{path} is a link, but no stage makes links; delete it, and start again.")
