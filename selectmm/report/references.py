"""What a benchmark gives without seeing, without knowing and without fine-tuning."""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from selectmm.cache.content import check_content
from selectmm.cache.reading import Mismatch, read
from selectmm.errors import UserError
from selectmm.records.checks import LARGEST
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
        content = read(Mapping[str, Mapping[str, float | None]], _read(path))
        for name, entry in content.items():
            _check(name, entry)
        return {
            name: read(Reference, dict.fromkeys(KINDS) | dict(entry), f"'{name}'") for name, entry in content.items()
        }
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


def check_free(path: Path, model: str, names: Collection[str], limit: int | None) -> None:
    """Whether a file of reference scores may be written: there is none, or what it holds is measured again.

    Args:
        model: the model's weights (`selectmm.models.vlm.VLM.identity`).
        names: of the benchmarks that are measured. limit: items of each; None for all.

    Raises:
        UserError: it is of another model, has other benchmarks or more items, or has no record that says so.
    """
    if not path.exists():
        return
    check_there([path])
    before = _measured(path.with_suffix(".record.json"))
    other = f"name another file, such as references={path.with_stem(path.stem + '-2')}"
    if before.model != model:
        raise UserError(
            f"{path} holds the reference scores of another model; {other}, here and in the runs of this model."
        )
    lost = [name for name in load_references(path) if name not in names]
    if lost:
        raise UserError(
            f"{path} also holds reference scores of {', '.join(lost)}, which this command would not measure; leave "
            f"suite.only out, or {other}."
        )
    cut = [name for name in names if name in before.suite and _fewer(limit, before.suite[name].limit)]
    if cut:
        raise UserError(
            f"{path} holds reference scores of more items of {', '.join(cut)} than suite.limit={limit} would measure; "
            f"leave suite.limit out, or {other}."
        )


def _fewer(limit: int | None, before: int | None) -> bool:
    return limit is not None and (before is None or limit < before)


def references_for(path: Path, records: Sequence[RunRecord]) -> References:
    """The references in ``path`` of the records' base model, prompts and scoring; none if there is no file.

    ``<path>.record.json``, which the command ``references`` writes beside it, says what they were measured on. Others
    are left out, and the log says so: a base score of another model or judge would decide which benchmarks count.

    Raises:
        UserError: see `load_references`.
    """
    return references_of_table([path], records)


def references_of_table(paths: Sequence[Path], records: Sequence[RunRecord], table: str = "") -> References:
    """As `references_for`, of several files: the log names what no file has for these records.

    Args:
        table: what the log calls the table of the records, if there are others.
    """
    left_out = set().union(*(_divided(path, records)[1] for path in paths))
    found = references_among(paths, records)
    missing = sorted(left_out - found.keys())
    if missing:
        log.warning(
            "References in %s were measured on another model, other items or prompts, or scored otherwise, and are "
            "left out%s: %s. Measure them again with selectmm references.",
            ", ".join(map(str, paths)), f" of {table}" if table else "", ", ".join(missing),
        )  # fmt: skip
    return found


def references_among(paths: Sequence[Path], records: Sequence[RunRecord]) -> References:
    """What the files in ``paths`` have of the records' base model and evaluator; of two that fit, the later file's.

    Raises:
        UserError: see `load_references`.
    """
    found: dict[str, Reference] = {}
    for path in paths:
        found |= _divided(path, records)[0]
    return found


def _divided(path: Path, records: Sequence[RunRecord]) -> tuple[dict[str, Reference], set[str]]:
    """References that were measured on the records' base model and evaluator, and the names of the others."""
    beside = path.with_suffix(".record.json")
    if not path.exists() or not beside.exists():
        return {}, set()
    measured, found = _measured(beside), load_references(path)
    fits = {name for name in found if all(_fits(measured, record, name) for record in records)}
    return {name: reference for name, reference in found.items() if name in fits}, found.keys() - fits


@dataclass(frozen=True)
class _Way:
    """How a benchmark was evaluated, as `selectmm.records.record.Evaluated` has it; empty where it was not kept."""

    prompts: str
    task: str
    metric: str
    judge: str
    harness: str
    material: str
    limit: int | None


@dataclass(frozen=True)
class _Measured:
    """The base model that reference scores are of, and how every benchmark was evaluated."""

    model: str
    suite: Mapping[str, _Way]


def _measured(path: Path) -> _Measured:
    content = _read(path)
    try:
        suite = {name: _way({"prompts": entry["prompts"], **entry}) for name, entry in content["suite"].items()}
        return read(_Measured, {"model": content["model"], "suite": suite})
    except (KeyError, TypeError, AttributeError, Mismatch) as problem:
        raise UserError(
            f"{path} does not say which model and prompts its reference scores are of ({problem!r:.80}); measure them "
            f"again with selectmm references."
        ) from problem


def _way(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: entry.get(one.name, None if one.name == "limit" else "") for one in fields(_Way)}


def _fits(measured: _Measured, record: RunRecord, name: str) -> bool:
    """Whether a benchmark's references are of the record's base model and evaluator, if it has the benchmark at all.

    Prompts have to agree; the rest, of which earlier versions kept less, where both sides say it. How many items were
    asked for is known where their hash is.
    """
    entry, of = record.suite.evaluator.get(name), measured.suite.get(name)
    if record.model != measured.model or entry is None:
        return record.model == measured.model
    if of is None or entry.prompts != of.prompts:
        return False
    pairs = [(entry.task, of.task), (entry.metric, of.metric), (entry.judge, of.judge), (entry.harness, of.harness)]
    pairs += [(entry.material, of.material)]
    alike = all(mine == theirs for mine, theirs in pairs if mine and theirs)
    return alike and (entry.limit == of.limit or not (entry.material and of.material))
