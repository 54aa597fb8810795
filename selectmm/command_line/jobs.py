"""The jobs of a command: the configuration of each, and the name of its method."""

import copy
from collections.abc import Sequence, Set
from itertools import product

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from selectmm.command_line.reading import (
    CONFIGS,
    check_overrides,
    check_single,
    composed,
    swept_in,
    typed,
    words_for,
)
from selectmm.errors import UserError
from selectmm.stages.full_seeds import left_out


def read_jobs(arguments: Sequence[str], multirun: bool) -> list[tuple[DictConfig, str]]:
    """The configuration of a run, or of every job of a sweep, each with the name of its method.

    Args:
        arguments: as a run's. multirun: whether ``-m`` was given; an experiment may say so itself.

    Raises:
        UserError: see `check_overrides`; also for several values of a key without ``-m``, and where no job is left.
    """
    check_overrides(CONFIGS, arguments)
    given = OverridesParser.create().parse_overrides(list(arguments))
    fixed = [typed(override) for override in given if not override.is_sweep_override()]
    config = composed(CONFIGS, fixed, hydra=True)
    if not (multirun or config.hydra.mode == RunMode.MULTIRUN):
        check_single(given)
        return [_job(config)]
    swept = OverridesParser.create().parse_overrides(swept_in(config))
    everything = {override.key_or_group: override for override in [*swept, *given]}  # what is typed counts
    jobs = _jobs(list(everything.values()), set(config.hydra.runtime.choices))
    kept = [(config, method) for config, method in jobs if not left_out(config, method)]
    if not kept:
        raise UserError(
            f"full_seeds={jobs[0][0].full_seeds} leaves no job: only full runs of other seeds were asked for."
        )
    return kept


def _job(config: DictConfig) -> tuple[DictConfig, str]:
    """The job of a configuration, from which Hydra's own part is taken."""
    choices = config.hydra.runtime.choices
    with open_dict(config):
        config.chosen = {group: name for group, name in choices.items() if not group.startswith("hydra")}
        del config["hydra"]
    return config, choices["method"]


def _jobs(overrides: Sequence[Override], groups: Set[str]) -> list[tuple[DictConfig, str]]:
    """Every job of a sweep, in Hydra's order.

    A configuration takes a third of a second to compose, so it is composed once for each choice of groups. The plain
    values that are swept are set in copies of it, as Hydra sets them.
    """
    keys = [override.key_or_group for override in overrides]
    plain = [_is_plain(override, groups, keys) for override in overrides]
    made: dict[tuple[str, ...], tuple[DictConfig, str]] = {}
    jobs = []
    for words in product(*(words_for(override) for override in overrides)):
        chosen = tuple(word for word, own in zip(words, plain, strict=True) if not own)
        if chosen not in made:
            made[chosen] = _job(composed(CONFIGS, list(chosen), hydra=True))
        config, method = made[chosen]
        jobs.append((_with(config, [word for word, own in zip(words, plain, strict=True) if own]), method))
    return jobs


def _is_plain(override: Override, groups: Set[str], keys: Sequence[str]) -> bool:
    """Whether an override sweeps values of one key, whose place among the other overrides does not matter."""
    key = override.key_or_group
    inside = any(key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in keys)
    changes = override.is_sweep_override() and override.type == OverrideType.CHANGE and not override.package
    return changes and key not in groups and not inside


def _with(config: DictConfig, words: Sequence[str]) -> DictConfig:
    """A copy of the configuration with these values in it."""
    changed = copy.deepcopy(config)
    for override in OverridesParser.create().parse_overrides(list(words)):
        OmegaConf.update(changed, override.key_or_group, override.value())
    return changed
