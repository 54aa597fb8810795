"""From a run's record back to its pool, its base, and the stages in the cache that it was made of."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selectmm.errors import UserError
from selectmm.records.in_use import hold
from selectmm.records.record import RunRecord
from selectmm.records.stage import ENTRY


def config_of(record: RunRecord, changes: Sequence[str], cache: Path | None) -> dict[str, dict[str, object]]:
    """The record's ``pool`` and ``model`` groups, for the door, with what is elsewhere on this machine changed.

    Args:
        changes: ``pool.key=value`` and ``model.key=value``.
        cache: root of the stage cache, if it is not where the record says.

    Raises:
        UserError: a change is of something that the record does not have.
    """
    groups = {name: deepcopy(dict(record.config[name])) for name in ("pool", "model")}
    for group in groups.values():
        if cache is not None and "cache" in group:
            group["cache"] = str(cache)
    config = OmegaConf.create(groups)
    OmegaConf.set_struct(config, True)
    try:
        return OmegaConf.to_container(OmegaConf.merge(config, OmegaConf.from_dotlist(list(changes))))
    except OmegaConfBaseException as problem:
        raise UserError(
            f"Beside a record only values of its pool and its model can be changed, such as model.path=…: "
            f"{str(problem).splitlines()[0]}."
        ) from problem


def cache_of(record: RunRecord, cache: Path | None) -> Path:
    """The root of the stage cache: the given one, or the record's."""
    return cache if cache is not None else Path(str(record.config["cache"]))


def adapter_of(record: RunRecord, cache: Path) -> Path:
    """The folder of the adapter that the recorded run trained.

    The record does not hold the stage's fingerprint; pool, subset, base, recipe, steps, strategy and seed name it.

    Raises:
        UserError: it is not in the cache (any more), or several fit, made on different kinds of device.
    """

    def fits(identity: Mapping[str, object]) -> bool:
        learned = identity.get("recipe")
        wanted = {
            "pool": record.pool.fingerprint,
            "subset": record.subset.fingerprint,
            "model": record.model,
            "steps": record.recipe.steps,
            "strategy": record.recipe.strategy,
            "seed": record.seed,
        }
        return _within(wanted, identity) and isinstance(learned, dict) and _within(learned, record.recipe.options)

    found = _stages(cache, "adapter", fits)
    if len(found) > 1:
        raise UserError(f"{_several(found)} could be the adapter of {record.name}; name one with --adapter.")
    return _only(found, "adapter", record, cache)


def subset_of(record: RunRecord, cache: Path) -> Path:
    """The folder of the subset that the recorded run chose, with its scores if the method has some.

    Raises:
        UserError: it is not in the cache (any more), or several fit whose scores differ.
    """

    def fits(identity: Mapping[str, object]) -> bool:
        options = record.method.options
        wanted = {"pool": record.pool.fingerprint, "options": options, "seed": record.seed}
        return _within(wanted, identity)

    found = [folder for folder in _stages(cache, "subset", fits) if _rows_of(folder) == record.subset.fingerprint]
    if len({_bytes(folder / "scores.npy") for folder in found}) > 1:
        raise UserError(f"{_several(found)} chose the rows of {record.name} by other scores; name one with --subset.")
    return _only(found[:1], "subset", record, cache)


def _stages(cache: Path, name: str, fits: Callable[[Mapping[str, object]], bool]) -> list[Path]:
    entries = sorted((cache / name).glob("*/stage.json"))  # a partial folder has none
    return [path.parent for path in entries if fits(json.loads(path.read_text())["identity"])]


def _within(part: Mapping[str, object], whole: Mapping[str, object]) -> bool:
    missing = object()
    return all(whole.get(key, missing) == value for key, value in part.items())


def _rows_of(folder: Path) -> str:
    return json.loads((folder / "subset.json").read_text())["fingerprint"]


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
