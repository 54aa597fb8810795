"""What a record names, found again: its configuration, on this machine."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.records.record import RunRecord


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


def check_base(vlm: VLM, record: RunRecord) -> None:
    """Whether an opened model is the one that the run started from.

    Raises:
        UserError: it is another.
    """
    if vlm.identity != record.model:
        raise UserError(
            f"{record.name} was made with base {record.model}, but the model here is {vlm.identity} "
            f"({vlm.model.dtype}): set model.path and model.dtype to what the run used."
        )
