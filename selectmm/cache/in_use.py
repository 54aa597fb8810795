"""Which stages a living process reads: it holds a shared lock on the stage's own file, and the lock ends with it.

The system keeps these locks (`flock`): nothing is written, so a cache that cannot be written is held as well, and a
process that is killed leaves nothing behind. On a folder that several machines share they are seen by all of them if
the file system passes locks on, as NFS does unless it is mounted with ``nolock``.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST = 256  # stages held at once: a job reads some 25, and a sweep of hundreds of jobs must not run out of open files

_BUSY = {errno.EAGAIN, errno.EACCES}
_held: dict[tuple[int, int], int] = {}  # open files by device and inode, the one used last at the end


def hold(file: Path) -> bool:
    """Lock a stage's file against removal until this process ends, and note in its time that it was used now.

    Of more than `MOST`, the one that was used longest ago is let go. Processes forked from this one hold it too. Where
    the file system knows no locks, nothing is held, and `unused` says so.

    Returns:
        False if the file is not there; it may have been removed while this waited for its lock.
    """
    try:
        handle = os.open(file, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)
    with suppress(OSError):  # a cache that cannot be written
        os.utime(handle)
    found = os.fstat(handle)
    if not _is_still(file, found):
        os.close(handle)
        return False
    key = found.st_dev, found.st_ino
    if key in _held:
        os.close(_held.pop(key))
    _held[key] = handle
    while len(_held) > MOST:
        os.close(_held.pop(next(iter(_held))))
    return True


def _is_still(file: Path, opened: os.stat_result) -> bool:
    try:
        return os.path.samestat(opened, os.stat(file))
    except FileNotFoundError:
        return False


@contextmanager
def unused(file: Path) -> Iterator[bool | None]:
    """Whether no process holds the file; while the block runs, none can begin to.

    Yields:
        None if that cannot be known, because the file system has no locks or does not give one to this user.
    """
    try:
        handle = os.open(file, os.O_RDWR)  # NFS gives an exclusive lock only with the right to write
    except PermissionError:
        handle = os.open(file, os.O_RDONLY)
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool | None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        return False if problem.errno in _BUSY else None
    return True
