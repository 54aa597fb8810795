"""A folder, or a file, that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selectmm.cache.write_errors import cannot_write, written_to
from selectmm.errors import UserError


def check_free(to: Path) -> None:
    """Check that a folder can be written to, before anything long starts.

    Raises:
        UserError: there is something at ``to`` already, or no folder can be put there.
    """
    real = _real(to)
    if os.path.isdir(real):  # pathlib's own way fails for names that are too long
        if not os.access(real, os.R_OK | os.X_OK):
            raise UserError(f"{to} may not be read; give --to a new folder.")
        if any(real.iterdir()):
            raise UserError(f"{to} is not empty; give --to a new folder, or empty this one.")
        mounted = os.path.ismount(real)
        if mounted or os.path.samefile(real, os.curdir):
            held = "a mounted volume" if mounted else "the current folder"
            raise UserError(f"{to} is {held}, which cannot be replaced; give --to a new folder inside it.")
    _check_place(to, real, "folder")


def check_new(to: Path) -> None:
    """Do as `check_free`, for one file to write."""
    _check_place(to, to.absolute(), "file")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to fill, beside ``to``; it becomes ``to`` when the block ends, and is gone if the block fails.

    Raises:
        UserError: there is something at ``to`` already, the disk is full, or the place cannot be written.
    """
    check_free(to)
    with _beside(to, _real(to), "folder") as beside:
        with written_to(to, "folder"):
            beside.mkdir()
        yield beside


@contextmanager
def new_file(to: Path) -> Iterator[Path]:
    """Do as `new_folder`, for one file to write."""
    check_new(to)
    with _beside(to, to.absolute(), "file") as beside:
        yield beside


def _real(to: Path) -> Path:
    """The folder itself: a link cannot be replaced by one."""
    return Path(os.path.realpath(to))


def _check_place(to: Path, real: Path, kind: str) -> None:
    """Raises:
    UserError: a file is there, or in the way of the folders that are to hold ``to``, or they cannot be written."""
    if os.path.lexists(real) and (kind == "file" or not os.path.isdir(real)):
        raise UserError(f"{to} is there already; give --to a new {kind}.")
    above = next(parent for parent in real.parents if os.path.lexists(parent))
    if not above.is_dir():
        raise UserError(f"{to} cannot be made, because {above} is no folder; give --to another {kind}.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(f"{to} cannot be made, because {above} may not be written; give --to another {kind}.")


@contextmanager
def _beside(to: Path, real: Path, kind: str) -> Iterator[Path]:
    """What becomes ``real``; ``to`` is what the user calls it."""
    beside = real.with_name(f".{real.name}.{os.getpid()}")
    try:
        with written_to(to, kind):
            _remove(beside)
            beside.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with written_to(to, kind):
            beside.rename(real)
    except UserError:
        raise
    except Exception as problem:
        reason = cannot_write(problem, real.parent) or _fault_in(problem, beside)
        if reason is None:
            raise
        raise UserError(f"{to} could not be written: {reason}; make room, or give --to another {kind}.") from problem
    finally:
        _remove(beside)


def _fault_in(problem: Exception, beside: Path) -> str | None:
    """What is wrong with a file that is being written; None for one that is read."""
    if not isinstance(problem, OSError) or not isinstance(problem.filename, str | Path):
        return None
    return problem.strerror if Path(problem.filename).is_relative_to(beside) else None


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True) if os.path.isfile(path) else shutil.rmtree(path, ignore_errors=True)
