"""Write and read the file of a record; a file that is read may come from anybody."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selectmm.cache.content import check_content, shown
from selectmm.cache.reading import Mismatch, read
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.records.before import READ_TOO, completed
from selectmm.records.checks import check_values
from selectmm.records.record import SCHEMA, RunRecord

LARGEST = 64 * 2**20  # bytes of a file; ours have 20 thousand, and some more for every source of the pool


def save(record: RunRecord, folder: Path) -> Path:
    """Write ``folder/<record.name>.json`` in one step and return its path; the same run replaces its own file.

    Text that no page or terminal can show (control characters in the name of a file or a source) is written as
    escapes, because `load` refuses it.

    Raises:
        UserError: the folder cannot be written.
        ValueError: a number in the record is NaN or infinite.
    """
    path = folder / f"{record.name}.json"
    text = json.dumps(shown(asdict(record)), indent=1, ensure_ascii=False, allow_nan=False)
    with unkept(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text + "\n")
    return path


@contextmanager
def unkept(path: Path) -> Iterator[None]:
    """Turns what the disk refuses inside the block into a sentence.

    Raises:
        UserError: a part of the record, ``path``, could not be written.
    """
    try:
        yield
    except OSError as problem:
        raise UserError(
            f"The record {path} could not be written: {problem.strerror}. Every stage is kept in the cache; make room "
            f"or set 'records' to another folder, and start the same command again."
        ) from problem


def load(path: Path) -> RunRecord:
    """Read and check a record, which may come from anybody.

    Raises:
        UserError: it is not there, too large, no JSON, of another schema, a field is missing, unknown or of the wrong
            type, or holds what no page can show or no run can have measured.
    """
    content = _read(path)
    try:
        check_content(content)
        if not isinstance(content, dict) or "schema" not in content:
            raise UserError(f"{path} is not a run record; runs write theirs to outputs/records/.")
        schema = content["schema"]
        if type(schema) is not int or schema not in (SCHEMA, *READ_TOO):
            raise UserError(
                f"Record {path} has schema {schema!r:.40}, this version reads {SCHEMA}; make the run again."
            )
        record = read(RunRecord, completed(content, SCHEMA) if schema in READ_TOO else content)
        check_values(record)
        return record
    except Mismatch as problem:
        raise UserError(f"Record {path}: {problem}; records are never edited, so make the run again.") from problem


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
    except OSError as problem:
        hint = f"; name its files: {path}/*.json" if path.is_dir() else ""
        raise UserError(f"There is no record to read at {path} ({problem.strerror}){hint}.") from problem
    if len(content) > LARGEST:
        raise UserError(f"{path} is not a record: it is larger than {LARGEST // 2**20} MiB; name record files.")
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as problem:
        raise UserError(f"Record {path} is not JSON ({problem}); make it again by starting its run again.") from problem
