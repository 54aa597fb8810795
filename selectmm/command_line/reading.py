"""Reads a command: its configuration, job by job, or what is wrong with it."""

import copy
import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from yaml import MarkedYAMLError

from selectmm.command_line.help import PARTS, choices_of
from selectmm.command_line.mistyped import (
    LEFT_OUT,
    check_exists,
    check_files,
    check_key,
    check_models,
    check_name,
    check_no_file,
    check_none,
    check_share,
    not_null,
    values_of,
)
from selectmm.command_line.offered import OWN, check_own_name
from selectmm.command_line.stray import check_bare, no_option
from selectmm.errors import UserError
from selectmm.paths import ROOT

CONFIGS = ROOT / "configs"
HYDRAS_GROUPS = (
    "hydra.launcher",
    "hydra.sweeper",
    "hydra.job_logging",
    "hydra.hydra_logging",
)  # Hydra takes any value there


def without_verb(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra takes them: ``run`` is left out, ``sweep`` becomes ``-m``, and ``engine=null``
    becomes ``~engine``, because Hydra knows no choice called null.
    """
    arguments = [_left_out(word) for word in arguments]
    rest = arguments[1:]
    if arguments[:1] == ["run"]:
        return rest
    if arguments[:1] == ["sweep"]:
        return rest if {"-m", "--multirun"} & set(rest) else ["-m", *rest]
    return arguments


def _left_out(word: str) -> str:
    group, _, name = word.partition("=")
    return f"~{group}" if group in LEFT_OUT and name.lower() == "null" else word


def words_of(arguments: Sequence[str]) -> list[str]:
    """The choices and values of a run's command line, without Hydra's options.

    Raises:
        UserError: an option that does not exist.
    """
    parser = get_args_parser()  # Hydra's own, which has no public name: what it reads is what counts
    parsed, rest = parser.parse_known_args(arguments)
    words = [*parsed.overrides, *rest]  # argparse leaves what follows an option between two words
    for word in words:
        if word.startswith("-"):
            options = [*parser._option_string_actions, "--dry-run"]
            raise no_option(word, arguments, known_names(), options, "Values are given without dashes, as key=value.")
    return words


def known_names(configs: Path = CONFIGS) -> set[str]:
    """What the options of a run begin with: its groups, and its keys without a group."""
    return {*groups_of(configs), *map(str, composed(configs, []))}


def groups_of(configs: Path) -> dict[str, Path]:
    """The folder of each group that a run chooses from."""
    folders = [folder for folder in configs.iterdir() if folder.is_dir() and folder.name not in PARTS - {"hydra"}]
    return {folder.name: folder for folder in folders} | {"experiments": configs.parent / "experiments"}


def is_sweep(arguments: Sequence[str]) -> bool:
    """Whether the choices say themselves that they are a sweep, as some experiments do."""
    given = OverridesParser.create().parse_overrides(list(arguments))
    fixed = [typed(override) for override in given if not override.is_sweep_override()]
    return bool(composed(CONFIGS, fixed, hydra=True).hydra.mode == RunMode.MULTIRUN)


def check_one_job(arguments: Sequence[str]) -> None:
    """Refuse several values of a key where no sweep was asked for.

    Args:
        arguments: choices and values. An experiment may say itself that it is a sweep.

    Raises:
        UserError: naming the value.
    """
    if not is_sweep(arguments):
        check_single(OverridesParser.create().parse_overrides(list(arguments)))


def check_single(overrides: Sequence[Override]) -> None:
    """Refuse several values of a key with a `UserError` that names them."""
    for override in overrides:
        if override.is_sweep_override():
            raise UserError(f"'{override.input_line}' is a sweep; give -m as well, or one value.")


def check_overrides(configs: Path, arguments: Sequence[str]) -> None:
    """Answer a mistyped command, group, choice or key with what exists.

    Raises:
        UserError: naming the word, the closest one that exists, and all that exist beside it.
    """
    words = [word for word in arguments if "=" in word and not word.startswith(("-", "hydra"))]
    groups = groups_of(configs)
    check_bare(arguments, lambda: known_names(configs))
    overrides = [read_word(word) for word in words]
    chosen = [override for override in overrides if override.key_or_group in groups]
    for override in chosen:
        for value in values_of(override):
            if value is None:
                raise UserError(not_null(override))
            there = choices_of(groups[override.key_or_group])
            if isinstance(value, list):
                names = ",".join(map(str, value))
                raise UserError(
                    f"'{override.input_line}' is a list; write {override.key_or_group}={names} with 'selectmm sweep'."
                )
            check_none(override, value, there)
            check_no_file(override.key_or_group, str(value), there)
            check_exists(f"{override.key_or_group}=", str(value), there)
            check_own_name(override.key_or_group, str(value), groups[override.key_or_group])
    config = composed(configs, _first(chosen), hydra=True)
    swept = OverridesParser.create().parse_overrides(swept_in(config))
    if chosen_too := [one for one in swept if one.key_or_group in groups]:  # an experiment's own sweep may choose
        config = composed(configs, _first([*chosen_too, *chosen]), hydra=True)
    if own := [read_word(word) for word in arguments if "=" in word and word.startswith("hydra")]:
        _check_hydra(configs, _first([*chosen_too, *chosen]), own)
    for override in overrides:
        check_models(override, config)
    with open_dict(config):
        del config["hydra"]  # whose keys nobody mistypes ours for
    for override in overrides:
        if override not in chosen and not override.is_add():
            check_files(config, override)
            check_name(override, groups["experiments"])
            check_share(override)
            for value in values_of(override):
                check_none(override, value)
            check_key(config, override.key_or_group, groups=groups)


def read_config(arguments: Sequence[str]) -> DictConfig:
    """The configuration that a command's ``group=name`` and ``key=value`` describe, as a run's would be.

    Raises:
        UserError: see `check_overrides`; also for a sweep, of which a command would not know which job is meant.
    """
    check_overrides(CONFIGS, arguments)
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        if override.is_sweep_override():
            raise UserError(f"'{override.input_line}' is a sweep, but this command looks at one job; give one value.")
    return composed(CONFIGS, list(arguments))


def chosen_by(arguments: Sequence[str]) -> dict[str, str | None]:
    """The name that each group has with these choices and values, also where a setting or an experiment chose it."""
    return dict(composed(CONFIGS, list(arguments), hydra=True).hydra.runtime.choices)


def plain_of(config: Any) -> dict[str, Any]:
    """A configuration as plain objects, with what it refers to filled in.

    Args:
        config: of OmegaConf: a mapping.
    """
    return cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))


def read_methods(arguments: Sequence[str], names: Sequence[str]) -> Iterator[DictConfig]:
    """The configuration with each of these methods, in turn.

    Args:
        arguments: as for `read_config`; a choice of methods among them is replaced.

    Raises:
        UserError: see `check_overrides`; also for a sweep of anything but the method.
    """
    check_overrides(CONFIGS, arguments)
    given = OverridesParser.create().parse_overrides(list(arguments))
    if swept := [word.input_line for word in given if word.is_sweep_override() and word.key_or_group != "method"]:
        raise UserError(f"'{swept[0]}' is a sweep, but only the method can have several values here; give one value.")
    fixed = [typed(word) for word in given if word.key_or_group != "method"]
    return (composed(CONFIGS, [*fixed, f"method={name}"]) for name in names)


def read_word(word: str) -> Override:
    """An option as Hydra reads it.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as problem:
        raise UserError(
            f"Cannot read '{word}' ({str(problem).splitlines()[0]}); there are no spaces around '=' and ',', and a "
            f"value with signs of its own is quoted: 'key=\"a, b\"'."
        ) from problem


def typed(override: Override) -> str:
    """An override as it stands on the command line."""
    return str(override.input_line)


def _first(choices: Sequence[Override]) -> list[str]:
    """The first value of each choice, as it is typed; of two choices in one group the later counts."""
    first = {choice.key_or_group: next(iter(values_of(choice))) for choice in choices}
    return [f"{group}={name}" for group, name in first.items() if name is not None]


def swept_in(config: DictConfig) -> list[str]:
    """What a configuration's own sweep varies, as it is typed."""
    return [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]


def words_for(override: Override) -> list[str]:
    """An override as it is typed for one job, once for each value of a sweep."""
    if not override.is_sweep_override():
        return [typed(override)]
    key = override.get_key_element()
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def composed(configs: Path, choices: list[str], hydra: bool = False) -> DictConfig:
    """The configuration; ``hydra``: with Hydra's own part.

    A command asks for the same one several times, so it is composed once and copied.

    Raises:
        UserError: a file of choices is not YAML.
    """
    try:
        config = copy.deepcopy(_composed(configs, tuple(choices), os.environ.get(OWN)))
    except MarkedYAMLError as problem:
        mark = problem.problem_mark
        place = f"{mark.name}, line {mark.line + 1}," if mark else "A file of choices"
        raise UserError(
            f"{place} is not YAML ({problem.problem}); correct it: 'key: value', indented by spaces, not tabs."
        ) from problem
    if not hydra:
        with open_dict(config):
            del config["hydra"]
    return config


@lru_cache(maxsize=16)
def _composed(configs: Path, choices: tuple[str, ...], own: str | None) -> DictConfig:
    """``own``: the user's folder, which the configuration names among those that are searched."""
    with initialize_config_dir(str(configs), version_base="1.3"):
        return compose("run", list(choices), return_hydra_config=True)


def _check_hydra(configs: Path, chosen: list[str], given: Sequence[Override]) -> None:
    """Answer a mistyped option of Hydra's own, or one of a launcher that was not chosen, beside ``chosen`` of ours."""
    words = {override.key_or_group: words_for(override)[0] for override in given}
    for key, word in words.items():
        if key in HYDRAS_GROUPS and isinstance(name := read_word(word).value(), str):
            raise UserError(f"'{word}' chooses nothing; did you mean '{key.replace('.', '/')}={name}', with a slash?")
    try:
        composed(configs, [*chosen, *words.values()])
    except ConfigCompositionException as problem:
        groups = {override.key_or_group: override for override in given if "/" in override.key_or_group}
        there = [name for name in composed(configs, chosen, hydra=True).hydra.runtime.choices if "/" in name]
        for group, override in groups.items():
            check_exists("", group, there)
            try:
                composed(configs, [words[group]])
            except MissingConfigException as missing:
                check_exists(f"{group}=", str(override.value()), missing.options or [])
        config = composed(configs, [*chosen, *(words[group] for group in groups)], hydra=True)
        way_out = (
            ""
            if "hydra/launcher" in groups
            else "; options of a launcher need hydra/launcher=slurm, joblib or ray beside them"
        )
        for key in [key for key in words if key not in groups]:
            check_key(config, key, way_out if key.startswith("hydra.launcher.") else "")
        reason = " ".join(str(problem.__cause__ or problem).splitlines()[0].split())
        raise UserError(f"Hydra cannot take {' '.join(words.values())} ({reason}); correct the option.") from problem
