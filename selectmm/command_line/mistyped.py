"""Answers a mistyped group, choice, key or value of a run with what exists, or with what to type."""

import difflib
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from selectmm.budget import check_budget
from selectmm.command_line.help import choices_of
from selectmm.command_line.stray import FILES, own_pool
from selectmm.errors import UserError

LEFT_OUT = ("engine", "targets", "experiments")  # groups that a run can do without


def values_of(override: Override) -> list[object]:
    """The value, or all of a sweep's."""
    return list(override.sweep_iterator()) if override.is_sweep_override() else [override.value()]


def not_null(override: Override) -> str:
    """What to say where null was typed for a group, and Hydra cannot take it."""
    group = override.key_or_group
    if group not in LEFT_OUT:
        return (
            f"'{override.input_line}' leaves out what every run needs; give one of the names that 'selectmm --help' "
            f"lists."
        )
    return f"'{override.input_line}' cannot be read; to leave {group} out type ~{group}, in a command of its own."


def check_none(override: Override, value: object, there: Collection[str] = ()) -> None:
    """Refuse Python's None, or nothing at all, where Hydra's null is meant.

    Args:
        there: the choices of a group; none for a plain value.
    """
    if value is None:
        return
    key = override.key_or_group
    if str(value) not in there and str(value).lower() in ("none", "") and key in LEFT_OUT:
        raise UserError(f"'{override.input_line}' chooses nothing; to leave {key} out write {key}=null.")
    if str(value) == "None" and not there:
        raise UserError(f"'{override.input_line}' is a text; for no value write {key}=null.")


def check_no_file(group: str, value: str, there: Collection[str]) -> None:
    """Refuse a path of a choice: ours go by their names, and one's own lie in a folder that is laid out as configs/."""
    if group == "pool" and value.endswith(FILES):
        raise UserError(f"'pool={value}' names a file; give it to the pool that reads it: {own_pool(value)}.")
    if not value.endswith((".yaml", ".yml")):
        return
    path = "/" + value.rpartition(".")[0]
    ours = max((name for name in there if path.endswith(f"/{name}")), key=len, default=None)
    name = path.rpartition("/")[2]
    way_out = f"put it into FOLDER/{group}/ and write --config-dir FOLDER {group}={name}"
    raise UserError(f"'{group}={value}' names a file; {f'write {group}={ours}' if ours else way_out}.")


def check_name(override: Override, experiments: Path) -> None:
    """Refuse ``experiment=`` for ``experiments=``: the name of the records is taken for the choice of an experiment."""
    if override.key_or_group == "experiment":
        for value in values_of(override):
            if str(value) in choices_of(experiments):
                raise UserError(f"experiment= only names the records; did you mean experiments={value}?")


def check_models(override: Override, config: DictConfig) -> None:
    """Refuse ``models=`` for ``model=``: only a sweep over the models that an experiment compares reads it.

    Args:
        config: the whole configuration, with Hydra's part, where such a sweep stands.
    """
    if override.key_or_group == "models" and "${models}" not in str(OmegaConf.to_container(config, resolve=False)):
        raise UserError(
            f"models= only says which models an experiment on several compares; did you mean "
            f"{override.input_line.replace('models', 'model', 1)}?"
        )


def check_share(override: Override) -> None:
    """Refuse a budget with a percent sign, a decimal comma, or out of range, before anything that takes long."""
    if override.key_or_group != "budget":
        return
    if meant := re.fullmatch(r"budget=0,(\d+)", override.input_line or ""):
        raise UserError(f"'budget=0,{meant[1]}' is two budgets, 0 and {meant[1]}; did you mean budget=0.{meant[1]}?")
    for value in values_of(override):
        if percent := re.fullmatch(r"(\d+(?:\.\d+)?)%", str(value)):
            raise UserError(f"budget={value} is not a number; did you mean budget={float(percent[1]) / 100:g}?")
        if isinstance(value, int | float) and not isinstance(value, bool) and not override.is_sweep_override():
            check_budget(value)  # of a sweep, the other jobs can run


def check_files(config: DictConfig, override: Override) -> None:
    """Refuse a file of rows where the pool reads none, and a checkpoint where the model reads none."""
    group, _, name = override.key_or_group.partition(".")
    if (group, name) == ("model", "path") and name not in list(config.model):
        raise UserError(
            f"This model has no 'path'; choose the one that reads your checkpoint, such as model=llava15_7b "
            f"{override.input_line}."
        )
    if group == "pool" and name in ("file", "images") and name not in list(config.pool):
        file = str(next(iter(values_of(override)))) if name == "file" else "FILE"
        raise UserError(f"This pool has no '{name}'; choose the pool that reads your file: {own_pool(file)}.")


def check_key(config: DictConfig, key: str, way_out: str = "", groups: Iterable[str] = ()) -> None:
    """Whether there is such a key; at the top, ``groups`` are named too."""
    node: Any = config
    seen = ""
    for part in key.split("."):
        if not OmegaConf.is_dict(node):
            raise UserError(f"'{seen.rstrip('.')}' is one value and has no '{part}'.")
        there = [*map(str, node), *(() if seen else groups)]
        inside = [] if seen else [f"{name}.{key}" for name in node if key in _keys(node, name)]
        if inside and part not in there:
            raise UserError(f"There is no '{key}': did you mean {' or '.join(repr(name) for name in inside)}?")
        check_exists(seen, part, there, way_out)
        node, seen = node._get_node(part), f"{seen}{part}."


def _keys(config: DictConfig, name: object) -> list[str]:
    """The keys of a group of the configuration; none of a plain value."""
    node: Any = config._get_node(str(name))
    return [str(key) for key in node] if OmegaConf.is_dict(node) and not node._is_none() else []


def check_exists(before: str, word: str, there: Collection[str], way_out: str = "") -> None:
    """Whether a word is one of those that are there.

    Raises:
        UserError: the closest one and all of them, with ``before`` in front of the word and ``way_out`` at the end.
    """
    if word in there:
        return
    names = sorted({name for name in there if not name.startswith("_")})  # _target_ is no option
    close = difflib.get_close_matches(word, names, n=1)
    hint = f": did you mean '{before}{close[0]}'? " if close else ". "
    listed = f"{hint}There are: {', '.join(names)}" if names else ""
    raise UserError(f"There is no '{before}{word}'{listed}{way_out}.")
