"""A folder, or a file, that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selectmm.errors import UserError
from selectmm.records.write_errors import cannot_write


def check_free(to: Path) -> None:
    """Said before anything long starts.

    Raises:
        UserError: there is something at ``to`` already.
    """
    if to.is_file() or (to.is_dir() and any(to.iterdir())):
        raise UserError(f"{to} is not empty; give --to a new folder, or empty this one.")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to fill, beside ``to``; it becomes ``to`` when the block ends, and is gone if the block fails.

    Raises:
        UserError: there is something at ``to`` already, the disk is full, or the place cannot be written.
    """
    check_free(to)
    with _beside(to, "folder") as beside:
        beside.mkdir()
        yield beside


@contextmanager
def new_file(to: Path) -> Iterator[Path]:
    """`new_folder`, for one file to write."""
    if to.exists():
        raise UserError(f"{to} is there already; give --to a new file.")
    with _beside(to, "file") as beside:
        yield beside


@contextmanager
def _beside(to: Path, kind: str) -> Iterator[Path]:
    beside = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        _remove(beside)
        beside.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        beside.rename(to)
    except UserError:
        raise
    except Exception as problem:
        reason = cannot_write(problem, to.parent)
        if reason is None:
            raise
        raise UserError(f"{to} could not be written: {reason}; make room, or give --to another {kind}.") from problem
    finally:
        _remove(beside)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True) if path.is_file() else shutil.rmtree(path, ignore_errors=True)
