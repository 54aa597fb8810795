"""Error messages for a full disk, and for a folder that cannot be written or was deleted meanwhile."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selectmm.errors import UserError

NO_SPACE = 2**20  # bytes; with less than this left, a failure is taken to be for want of space

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EROFS, errno.EPERM}


@contextmanager
def explain_failed_writes(what: str, folder: Path, root: Path) -> Iterator[None]:
    """Raise a `UserError` for what is raised inside the block, if ``root`` cannot be written.

    Args:
        what: the subject of the sentence, with a capital letter: what was writing.
        folder: what is written; until it is complete, it lies beside, with ``.partial`` in the place of its ending.

    Raises:
        UserError: the disk is full, the folder cannot be written, or was deleted meanwhile.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as problem:
        reason = cannot_write(problem, root) or _gone(folder)
        if reason is None:
            raise
        raise UserError(
            f"{what} could not write {folder}: {reason}. What was finished is kept; free some space or point "
            f"'cache' at another folder, and start the same command again."
        ) from problem


@contextmanager
def written_to(to: Path, kind: str) -> Iterator[None]:
    """Raise a `UserError` for what is raised inside the block, if ``--to`` cannot be written.

    Args:
        to: the path after ``--to``. kind: what it should be, ``file`` or ``folder``.

    Raises:
        UserError: the disk is full, or something else is in the way.
    """
    try:
        yield
    except OSError as problem:
        reason = cannot_write(problem, to.parent) or (problem.strerror if problem.filename else None)
        if reason is None:  # a screen that was closed has no name
            raise
        raise UserError(f"{to} could not be written: {reason}; make room, or give --to another {kind}.") from problem


def _gone(folder: Path) -> str | None:
    """Whether the folder was deleted; libraries report that in many ways, so the disk is looked at."""
    partial = folder.with_suffix(".partial")
    return None if partial.exists() or folder.exists() else f"{partial} was deleted while it was being written"


def full_disk(problem: Exception) -> str | None:
    """The message, if ``problem`` means that the disk is full, whatever was being written; None for other problems."""
    if not isinstance(problem, OSError) or problem.errno not in _FULL:
        return None
    return (
        f"{problem.filename or 'A file'} could not be written: {problem.strerror}. What was finished is kept; make "
        f"room, and start the same command again."
    )


def cannot_write(problem: Exception, root: Path) -> str | None:
    """Why ``problem`` means that ``root`` cannot be written, or None if it means something else.

    Not every library raises an ``OSError``: safetensors gives the system's error in its message; torch does not, so
    the free space is looked at.
    """
    if (named := _OS_ERROR.search(str(problem))) and int(named[1]) in _FULL:
        return os.strerror(int(named[1]))
    if isinstance(problem, OSError):
        if problem.errno in _FULL:
            return problem.strerror
        inside = problem.filename is None or Path(problem.filename).absolute().is_relative_to(root.absolute())
        if problem.errno in _FORBIDDEN and inside:  # elsewhere it is some input that cannot be read
            return problem.strerror
    return os.strerror(errno.ENOSPC) if root.exists() and shutil.disk_usage(root).free < NO_SPACE else None
