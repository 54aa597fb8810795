"""What a benchmark gives without seeing, without knowing and without fine-tuning."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from selectmm.errors import UserError
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
        content = json.loads(path.read_bytes())
        whole = read(Mapping[str, Mapping[str, float | None]], content)
        return {name: read(Reference, dict.fromkeys(KINDS) | dict(entry), f"'{name}'") for name, entry in whole.items()}
    except OSError as problem:
        raise UserError(f"There are no reference scores at {path} ({problem.strerror}).") from problem
    except (ValueError, Mismatch) as problem:
        raise UserError(
            f'Reference scores {path}: {problem}; they look like {{"benchmark": {{"chance": 25.0, "blind": 31.2}}}}.'
        ) from problem


def references_for(path: Path, records: Sequence[RunRecord]) -> References:
    """Of the references in ``path``, those measured on the records' base model and prompts; none if there is no file.

    ``<path>.record.json``, which the command ``references`` writes beside it, says what they were measured on. Others
    are left out, and the log says so: a base score of another model would decide which benchmarks count.

    Raises:
        UserError: see `load_references`.
    """
    beside = path.with_suffix(".record.json")
    if not path.exists() or not beside.exists():
        return {}
    measured, found = json.loads(beside.read_text()), load_references(path)
    asked = [(record.model, name, _prompts(record.suite.evaluator, name)) for record in records for name in found]
    fits = {name for name in found if all(_same(measured, entry) for entry in asked if entry[1] == name)}
    if left_out := sorted(found.keys() - fits):
        log.warning(
            "References in %s were measured on another model or other prompts and are left out: %s. Measure them again "
            "with python -m selectmm references.", path, ", ".join(left_out),
        )  # fmt: skip
    return {name: reference for name, reference in found.items() if name in fits}


def _same(measured: Mapping[str, object], asked: tuple[str, str, object]) -> bool:
    model, name, prompts = asked
    return measured["model"] == model and prompts in (None, _prompts(measured["suite"], name))


def _prompts(manifest: Mapping[str, object], name: str) -> object:
    """The hash of a benchmark's prompts; None if the record does not have the benchmark."""
    entry = manifest.get(name)
    return entry.get("prompts") if isinstance(entry, Mapping) else None
