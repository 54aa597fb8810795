"""What a record says of its pool and its model, read as data: a record may come from a stranger.

A record names its loaders as ``_target_``, as every configuration does, but nothing of it is instantiated. It may name
only loaders that the files of ``configs/`` name, with values of the types that those loaders declare. Values are taken
literally: ``${…}`` in a record means nothing. Whatever a record says differently from ``configs/`` (files, folders, hub
ids and all other values) is shown, and has to be confirmed before anything is opened.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from selectmm.command_line.reading import CONFIGS, plain_of, read_config
from selectmm.errors import UserError
from selectmm.printable import printable
from selectmm.records.record import RunRecord

Entry = Mapping[str, Any]
"""A loader (``_target_``) and its values: texts, numbers, true, false, null, or an entry of another group."""

Named = tuple[tuple[str, object], ...]
"""Dotted keys and values that a record says differently from ``configs/`` and the command line."""


@dataclass(frozen=True)
class Recorded:
    """A pool or a model that a record describes, checked but not opened.

    Attributes:
        entry: its loader and values. named: those values that only the record vouches for.
    """

    entry: Entry
    named: Named

    def open(self) -> Any:
        """The pool or the model. Its loader raises what it raises."""
        return _open(self.entry)


def recorded(record: RunRecord, group: str, choices: Sequence[str], cache: Path | None) -> Recorded:
    """The record's ``pool`` or ``model``; what the command line says replaces what the record says.

    Args:
        choices: ``pool.key=value`` and ``model.key=value`` as for a run; with ``pool=…`` or ``model=…`` among them, the
            record's own pool or model is not looked at.
        cache: root of the stage cache, if the command line names one.

    Raises:
        UserError: a choice is of another group, or the record says what no configuration of ours could say.
    """
    keys = [word.split("=")[0] for word in choices]
    if other := [key for key in keys if key.split(".")[0] not in ("pool", "model")]:
        raise UserError(f"With --record, only options of its pool and its model can be changed, not {other[0]}.")
    typed = [word for word, key in zip(choices, keys, strict=True) if key.split(".")[0] == group]
    if group in keys:
        return Recorded(_composed(group, tuple(typed), cache), ())
    said: Any = record.config.get(group)
    file = _file_of(group, said, record.config.get("chosen"))
    ours = _composed(group, (f"{group}={file}", *typed), cache)
    given = {*keys, f"{group}.cache"} if cache is not None else set(keys)
    entry = _merged(ours, said, given, group)
    _check(entry, group, group)
    return Recorded(entry, tuple(_differing(entry, ours, group)))


def recorded_cache(record: RunRecord, cache: Path | None) -> tuple[Path, Named]:
    """The root of the record's stage cache, and whether the record alone names it.

    Raises:
        UserError: the record names none.
    """
    if cache is not None:
        return cache, ()
    said = record.config.get("cache")
    if not isinstance(said, str) or not said.isprintable():
        raise UserError("The record does not say where its cache is; give --cache FOLDER.")
    return Path(said), () if said == read_config([]).cache else (("cache", said),)


def confirm(named: Sequence[tuple[str, object]], yes: bool) -> None:
    """Show what only a record vouches for, and ask whether to open it.

    Args:
        yes: do not ask.

    Raises:
        UserError: the answer is no, or there is nobody to ask.
    """
    if yes or not named:
        return
    lines = "".join(f"\n  {key} = {value!r}" for key, value in dict(named).items())
    if not sys.stdin.isatty():
        raise UserError(
            f"The record names the values below. Give them yourself (key=value; --cache for cache), or add --yes to "
            f"open what the record names.{lines}"
        )
    print(printable(f"The record names these values:{lines}"))
    if input("Open them? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("Nothing was opened. Give other values as key=value, and another cache as --cache FOLDER.")


@cache
def loaders(group: str) -> dict[str, tuple[str, ...]]:
    """The loaders that the files of ``configs/<group>/`` name, each with the names of those files."""
    found: dict[str, tuple[str, ...]] = {}
    for file in sorted((CONFIGS / group).glob("*.yaml")):
        target = cast(DictConfig, OmegaConf.load(file)).get("_target_")
        if target is not None:
            found[target] = (*found.get(target, ()), file.stem)
    return found


def _file_of(group: str, said: object, chosen: object) -> str:
    """The name of the file of ``configs/<group>/`` that has the record's loader; of several, the one it was made with.

    Raises:
        UserError: there is none.
    """
    target = said.get("_target_") if isinstance(said, dict) else None
    files = loaders(group).get(target, ()) if isinstance(target, str) else ()
    if not files:
        raise UserError(
            f"The record's {group} has the loader {target!r:.100}, which no file of configs/{group} has, so it is not "
            f"opened. Name the {group} yourself: {group}=… with its values."
        )
    name = chosen.get(group) if isinstance(chosen, dict) else None
    return name if name in files else files[0]


_DOLLAR = re.compile(r"(\\*)\$\{")  # and backslashes before it, which have to be doubled for it to mean nothing


@cache
def _composed(group: str, choices: tuple[str, ...], cache: Path | None) -> Entry:
    """What ``configs/`` and the command line say of a group, where the cache is ``cache`` if that is given."""
    config = read_config(choices)
    if cache is not None:  # not as a word: a path may have signs that are a word's own
        config.cache = _DOLLAR.sub(r"\1\1\\${", str(cache))
    return plain_of(config[group])


def _merged(ours: Entry, said: Entry, typed: set[str], at: str) -> dict[str, Any]:
    """``said``, with ours for keys that it lacks or that were typed."""
    merged = dict(ours)
    for key, value in said.items():
        mine, where = ours.get(key), f"{at}.{key}"
        if where not in typed:
            both = isinstance(value, dict) and isinstance(mine, dict)
            merged[key] = _merged(cast(Entry, mine), value, typed, where) if both else value
    return merged


def _differing(entry: Entry, ours: object, at: str) -> Iterator[tuple[str, object]]:
    for key, value in entry.items():
        mine = ours.get(key) if isinstance(ours, dict) else None
        if isinstance(value, dict):
            yield from _differing(value, mine, f"{at}.{key}")
        elif value != mine:
            yield f"{at}.{key}", value


def _check(entry: Entry, group: str, at: str) -> None:
    """The loader is one that ``configs/<group>/`` names, and each value of a type that it declares.

    Raises:
        UserError: naming what is not so.
    """
    target = entry.get("_target_")
    if not isinstance(target, str) or target not in loaders(group):
        raise UserError(f"The record's {at} has the loader {target!r:.100}, which no file of configs/{group} has.")
    declared = get_type_hints(get_object(target))
    for key, value in entry.items():
        where = f"{at}.{key}"
        if key == "_target_":
            continue
        if key not in declared or key == "return":
            raise UserError(f"The record's {where:.100} is no option of {target}; name the {group} yourself.")
        if isinstance(value, dict):
            _check(value, key, where)
        elif not _fits(value, declared[key]):
            raise UserError(f"The record's {where} is {value!r:.100}, which {target} does not take; give {where}=…")


def _fits(value: object, declared: object) -> bool:
    """Whether a plain value is of the declared type; a text has to be printable, and may stand for a path."""
    origin = get_origin(declared)
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(declared))
    if origin is Literal:
        return value in get_args(declared)
    if declared in (str, Path):
        return isinstance(value, str) and value.isprintable()
    if declared is float:
        return type(value) in (int, float)
    return declared in (int, bool, NoneType) and type(value) is declared


def _open(entry: Entry) -> Any:
    values = {key: _open(value) if isinstance(value, dict) else value for key, value in entry.items()}
    return get_object(str(values.pop("_target_")))(**values)
