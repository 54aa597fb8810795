"""Finds the stages in the cache that a run's record was made of."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from selectmm.cache.in_use import hold
from selectmm.cache.stage import ENTRY
from selectmm.errors import UserError
from selectmm.records.record import RunRecord

T = TypeVar("T")


def adapter_of(record: RunRecord, cache: Path) -> Path:
    """The folder of the adapter that the recorded run trained.

    The record does not hold the stage's fingerprint; pool, subset, base, recipe, steps, strategy, seed and the steps
    after which the model was evaluated on the way name it.

    Raises:
        UserError: it is not in the cache (any more), or several fit, made on different kinds of device.
    """

    def fits(identity: Mapping[str, Any]) -> bool:
        learned, strategy = identity.get("recipe"), identity.get("strategy")
        chosen = {} if record.schedule else {"subset": record.subset.fingerprint}
        wanted = {
            **chosen,
            "pool": record.pool.fingerprint,
            "model": record.model,
            "steps": record.recipe.steps,
            "seed": record.seed,
        }
        if not (isinstance(learned, dict) and isinstance(strategy, dict) and _within(wanted, identity)):
            return False
        if identity.get("points", []) != [point.step for point in record.curve]:
            return False
        spread = {**record.recipe.strategy, "devices": None}  # how many there were changes a result by rounding alone
        # How often checkpoints were written decides nothing; stages of earlier versions say it (`Recipe.learned`).
        decisive = {key: value for key, value in learned.items() if key not in ("checkpoint_every", "buffers")}
        exact = "float32" if record.recipe.options.get("precision") == "bf16-true" else None
        if learned.get("buffers") != exact:
            return False
        return {**strategy, "devices": None} == spread and _within(decisive, record.recipe.options)

    found = _stages(cache, "schedule" if record.schedule else "adapter", fits)
    if record.schedule:
        found = [folder for folder in found if _visited(folder) == record.schedule.fingerprint]
    if len(found) > 1:
        raise UserError(f"{_several(found)} could be the adapter of {record.name}; name one with --adapter.")
    return _only(found, "adapter", record, cache)


def subset_of(record: RunRecord, cache: Path) -> Path:
    """The folder of the subset that the recorded run chose, with its scores if the method has some.

    Raises:
        UserError: it is not in the cache (any more), several fit whose scores differ, or rows were chosen during
            training.
    """
    if record.schedule:
        folder = adapter_of(record, cache)
        raise UserError(
            f"The rows of {record.name} were chosen during training, so there is no subset; what was visited at every "
            f"step is in {folder / 'visits.npy'}."
        )

    def fits(identity: Mapping[str, Any]) -> bool:
        options = record.method.options
        wanted = {"pool": record.pool.fingerprint, "options": options, "seed": record.seed}
        return _within(wanted, identity)

    found = [folder for folder in _stages(cache, "subset", fits) if _rows_of(folder) == record.subset.fingerprint]
    if len({_bytes(folder / "scores.npy") for folder in found}) > 1:
        raise UserError(f"{_several(found)} chose the rows of {record.name} by other scores; name one with --subset.")
    return _only(found[:1], "subset", record, cache)


def _stages(cache: Path, name: str, fits: Callable[[Mapping[str, Any]], bool]) -> list[Path]:
    entries = sorted((cache / name).glob("*/stage.json"))  # a partial folder has none
    return [path.parent for path in entries if fits(_read(path, "identity", {}))]


def _within(part: Mapping[str, Any], outer: Mapping[str, Any]) -> bool:
    missing = object()
    return all(outer.get(key, missing) == value for key, value in part.items())


def _visited(folder: Path) -> object:
    entry: dict[str, Any] = _read(folder / "schedule.json", "entry", {})
    return entry.get("fingerprint")


def _rows_of(folder: Path) -> str:
    return _read(folder / "subset.json", "fingerprint", "")


def _read(path: Path, key: str, otherwise: T) -> T:
    """A value of a file that a stage keeps; ``otherwise`` if the file is damaged, as of a stage that does not fit."""
    try:
        found = json.loads(path.read_text())[key]
    except (OSError, ValueError, LookupError, TypeError):
        return otherwise
    return found if isinstance(found, type(otherwise)) else otherwise


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def _several(found: list[Path]) -> str:
    return " and ".join(str(folder) for folder in found)


def _only(found: list[Path], what: str, record: RunRecord, cache: Path) -> Path:
    if not found:
        raise UserError(
            f"The {what} of {record.name} is not in the cache {cache} (any more); point --cache at another, or make it "
            f"again: {record.provenance.command}"
        )
    hold(found[0] / ENTRY)  # it is read now: `cache prune` leaves it alone until this process ends
    return found[0]
