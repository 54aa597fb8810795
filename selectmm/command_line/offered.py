"""Choices that do not come with selectmm: methods of other installed packages, and YAML files of the user's own.

A package offers a method as an entry point of the group ``selectmm.methods``: its name is what follows ``method=``, its
value a class, or the path of a YAML file with a ``_target_``. An installed package is trusted to run code, but it is
imported only when its method is chosen. A folder of one's own is laid out as ``configs/``; ``--config-dir``
names it.
"""

import os
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from selectmm.errors import UserError
from selectmm.paths import ROOT

GROUP = "selectmm.methods"
OWN = "SELECTMM_OWN"  # the environment variable that names the user's folder; configs/run.yaml searches it
OPTION = ("--config-dir", "-cd")


def take_own_folder(arguments: Sequence[str]) -> list[str]:
    """The arguments without ``--config-dir FOLDER``, which from here on is searched, in this process and its children.

    Raises:
        UserError: the folder is not there.
    """
    rest, waiting = [], False
    for word in arguments:
        if waiting or word.startswith(f"{OPTION[0]}="):
            _search(word.removeprefix(f"{OPTION[0]}="))
            waiting = False
        elif word in OPTION:
            waiting = True
        else:
            rest.append(word)
    if waiting:
        raise UserError(f"{OPTION[0]} names no folder; give one that is laid out as configs/.")
    return rest


def _search(folder: str) -> None:
    path = Path(folder).resolve()
    if not path.is_dir():
        raise UserError(f"{OPTION[0]}={folder}: there is no such folder; give one that is laid out as configs/.")
    os.environ[OWN] = str(path)


def own_choices(group: str) -> list[str]:
    """What the user's own folder has for a group, as it is typed."""
    folder = Path(os.environ[OWN]) / group if OWN in os.environ else None
    return [] if folder is None else sorted(str(p.relative_to(folder).with_suffix("")) for p in folder.rglob("*.yaml"))


def check_own_name(group: str, name: str, ours: Path) -> None:
    """Refuse a choice that the user's own folder and selectmm both have, as selectmm's would run without a word.

    Args:
        ours: the folder of selectmm's choices of the group.

    Raises:
        UserError: both have it, and the files differ.
    """
    own, there = Path(os.environ.get(OWN, os.devnull)) / group / f"{name}.yaml", ours / f"{name}.yaml"
    if own.is_file() and there.is_file() and own.read_bytes() != there.read_bytes():
        raise UserError(
            f"{group}={name}: {own} has the name of one of selectmm's own, which would run in its place; give your "
            f"file another name."
        )


def offered_methods() -> list[str]:
    """Names of the methods that installed packages offer; none of them is imported."""
    return sorted(_entries())


def make_known(words: Sequence[str]) -> None:
    """Hand the offered methods that the words name to Hydra; a name that selectmm has too stays selectmm's.

    Raises:
        UserError: such a method cannot be imported, or is neither a dataclass nor a YAML file.
    """
    typed = {name for word in words if word.startswith("method=") for name in word.removeprefix("method=").split(",")}
    every = any(word.startswith("experiments=") for word in words)  # one may sweep over any of them
    for name, entry in _entries().items():
        if (every or name in typed) and not (ROOT / "configs" / "method" / f"{name}.yaml").exists():
            ConfigStore.instance().store(name=name, group="method", node=_node(entry), provider=GROUP)


@cache
def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _node(entry: EntryPoint) -> dict[str, Any]:
    """A method's configuration: its class and every option's default, or what its YAML file says."""
    package = entry.dist.name if entry.dist else entry.module
    who = f"method={entry.name}, which the package {package} offers ({entry.value})"
    try:
        found = entry.load()
    except Exception as problem:  # a stranger's module may raise anything
        raise UserError(f"{who}, cannot be imported: {type(problem).__name__}: {problem}.") from problem
    if isinstance(found, str | Path):
        return _file(Path(found), who)
    if not (isinstance(found, type) and is_dataclass(found)):
        raise UserError(f"{who}, is neither a dataclass nor the path of a YAML file.")
    options = {field.name: _default(field) for field in fields(found) if field.init}
    return {"_target_": f"{found.__module__}.{found.__qualname__}", **options}


def _file(path: Path, who: str) -> dict[str, Any]:
    try:
        node: Any = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, UnicodeDecodeError, OmegaConfBaseException) as problem:
        raise UserError(f"{who}: its file {path} cannot be read ({problem}).") from problem
    if not isinstance(node, dict) or "_target_" not in node:
        raise UserError(f"{who}: its file {path} has no _target_, which names the class.")
    return node


def _default(field: Any) -> object:
    """As YAML has it: ``???`` without a default, an object as a mapping with its class."""
    if field.default is not MISSING:
        value: Any = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "???"
    if is_dataclass(value) and not isinstance(value, type):
        return {"_target_": f"{type(value).__module__}.{type(value).__qualname__}", **asdict(value)}
    return list(value) if isinstance(value, tuple) else value
