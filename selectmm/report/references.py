"""What a benchmark gives without seeing, without knowing and without fine-tuning."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from selectmm.errors import UserError
from selectmm.records.checks import LARGEST
from selectmm.records.content import check_content
from selectmm.records.reading import Mismatch, read
from selectmm.records.record import RunRecord


@dataclass(frozen=True)
class Reference:
    """Reference scores of one benchmark, in the table's unit; None where one was not measured.

    Attributes:
        chance: what guessing scores. majority: what the most frequent answer scores.
        blind: the base model, same question, no image. shuffled: the base model, another item's image.
        base: the base model as it is, before any fine-tuning.
    """

    chance: float | None = None
    majority: float | None = None
    blind: float | None = None
    shuffled: float | None = None
    base: float | None = None


log = logging.getLogger("selectmm")

References = Mapping[str, Reference]
"""Reference scores by benchmark name."""

KINDS = tuple(entry.name for entry in fields(Reference))


def load_references(path: Path) -> References:
    """Read ``{benchmark: {"chance": …, "majority": …, "blind": …, "shuffled": …, "base": …}}``; kinds may be absent.

    Raises:
        UserError: it is not there, or does not look like this.
    """
    try:
        whole = read(Mapping[str, Mapping[str, float | None]], _read(path))
        for name, entry in whole.items():
            _check(name, entry)
        return {name: read(Reference, dict.fromkeys(KINDS) | dict(entry), f"'{name}'") for name, entry in whole.items()}
    except Mismatch as problem:
        raise _odd(path, problem) from problem


def _read(path: Path) -> Any:
    try:
        content = json.loads(path.read_bytes())
        check_content(content)
        return content
    except OSError as problem:
        raise UserError(f"There are no reference scores at {path} ({problem.strerror}).") from problem
    except (ValueError, RecursionError, Mismatch) as problem:
        raise _odd(path, problem) from problem


def _check(name: str, entry: Mapping[str, float | None]) -> None:
    for kind, value in entry.items():
        if abs(value or 0.0) > LARGEST:
            raise Mismatch(f"field '{name:.40}.{kind:.40}' is {value:g}, which no measurement can give")


def _odd(path: Path, problem: Exception) -> UserError:
    return UserError(
        f'Reference scores {path}: {problem}; the expected form is {{"benchmark": {{"chance": 25.0, "blind": 31.2}}}}.'
    )


def check_there(paths: Sequence[Path]) -> None:
    """Whether files that a user named are there, each with the record of what it was measured on.

    Raises:
        UserError: one is not.
    """
    for path in paths:
        _read(path)
        beside = path.with_suffix(".record.json")
        if not beside.exists():
            raise UserError(
                f"Beside the reference scores {path} there is no {beside.name}, which says what they were measured on; "
                f"measure them with selectmm references, which writes both."
            )


def references_for(path: Path, records: Sequence[RunRecord]) -> References:
    """Of the references in ``path``, those measured on the records' base model and prompts; none if there is no file.

    ``<path>.record.json``, which the command ``references`` writes beside it, says what they were measured on. Others
    are left out, and the log says so: a base score of another model would decide which benchmarks count.

    Raises:
        UserError: see `load_references`.
    """
    found, left_out = _divided(path, records)
    if left_out:
        log.warning(
            "References in %s were measured on another model or other prompts and are left out: %s. Measure them again "
            "with selectmm references.", path, ", ".join(sorted(left_out)),
        )  # fmt: skip
    return found


def references_among(paths: Sequence[Path], records: Sequence[RunRecord]) -> References:
    """What the files in ``paths`` have of the records' base model and prompts; of two that fit, the later file's.

    Raises:
        UserError: see `load_references`.
    """
    found: dict[str, Reference] = {}
    for path in paths:
        found |= _divided(path, records)[0]
    return found


def _divided(path: Path, records: Sequence[RunRecord]) -> tuple[dict[str, Reference], set[str]]:
    """References that were measured on the records' base model and prompts, and the names of the others."""
    beside = path.with_suffix(".record.json")
    if not path.exists() or not beside.exists():
        return {}, set()
    measured, found = _measured(beside), load_references(path)
    fits = {name for name in found if all(_fits(measured, record, name) for record in records)}
    return {name: reference for name, reference in found.items() if name in fits}, found.keys() - fits


@dataclass(frozen=True)
class _Measured:
    """The base model that reference scores are of, and the hash of every benchmark's prompts."""

    model: str
    prompts: Mapping[str, str]


def _measured(path: Path) -> _Measured:
    content = _read(path)
    try:
        model, suite = content["model"], content["suite"]
        return read(_Measured, {"model": model, "prompts": {name: entry["prompts"] for name, entry in suite.items()}})
    except (KeyError, TypeError, AttributeError, Mismatch) as problem:
        raise UserError(
            f"{path} does not say which model and prompts its reference scores are of ({problem!r:.80}); measure them "
            f"again with selectmm references."
        ) from problem


def _fits(measured: _Measured, record: RunRecord, name: str) -> bool:
    """Whether a benchmark's references are of the record's base model and prompts, if it has the benchmark at all."""
    entry = record.suite.evaluator.get(name)
    return record.model == measured.model and (entry is None or entry.prompts == measured.prompts.get(name))
