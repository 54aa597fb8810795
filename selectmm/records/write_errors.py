"""A full disk, a folder that cannot be written or was deleted meanwhile: the sentence that says so."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selectmm.errors import UserError

NO_SPACE = 2**20  # bytes; with less than this left, whatever failed failed for want of space

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EROFS, errno.EPERM}


@contextmanager
def explain_failed_writes(what: str, folder: Path, root: Path) -> Iterator[None]:
    """Turns what is raised inside the block into a sentence, if ``root`` cannot be written.

    Args:
        what: writes, with a capital letter.
        folder: is written; beside it, under the same name and ``.partial``, until it is whole.

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


def _gone(folder: Path) -> str | None:
    """Writers name what they miss in many ways, so the disk is asked."""
    partial = folder.with_suffix(".partial")
    return None if partial.exists() or folder.exists() else f"{partial} was deleted while it was being written"


def full_disk(problem: Exception) -> str | None:
    """The sentence for a disk on which nothing more can be written, wherever that showed; None for other problems."""
    if not isinstance(problem, OSError) or problem.errno not in _FULL:
        return None
    return (
        f"{problem.filename or 'A file'} could not be written: {problem.strerror}. What was finished is kept; make "
        f"room, and start the same command again."
    )


def cannot_write(problem: Exception, root: Path) -> str | None:
    """Why ``problem`` means that ``root`` cannot be written, or None if it means something else.

    Writers outside of Python do not raise an ``OSError``: safetensors names the system's error in its words; of torch,
    which does not, the disk is asked.
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
