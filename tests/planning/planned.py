"""Experiments on tiny models, and their plans."""

from copy import deepcopy
from functools import cache
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from selectmm.experiment import Experiment
from selectmm.flops.gpus import GPUS
from selectmm.instantiate import build
from selectmm.planning.plan import plan
from selectmm.planning.stages import Plan, Planned
from tests.test_line import ROOT, overrides

GROUPS = {path.name for path in (ROOT / "configs").iterdir()}
H100 = GPUS["h100"]


def words(place: Path, output: str, *arguments: str) -> list[str]:
    return [*overrides(place, "llava15_7b", output), "recipe.max_length=1024", "suite=prism", *arguments]


def experiment_of(place: Path, output: str, *arguments: str) -> Experiment:
    method = next(a.split("=")[1] for a in arguments if a.startswith("method="))
    return build(config_of(words(place, output, *arguments)), method)


def config_of(arguments: list[str]) -> DictConfig:
    """Each choice of groups is composed once, as in a sweep; the values are set in a copy."""
    given = OverridesParser.create().parse_overrides(arguments)
    values = {one.key_or_group: one for one in given if one.key_or_group not in GROUPS}
    config = deepcopy(_composed(tuple(one.input_line for one in given if one.key_or_group in GROUPS)))
    for key, one in values.items():
        OmegaConf.update(config, key, one.value())
    return config


@cache
def _composed(choices: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return compose("run", list(choices))


def planned(*experiments: Experiment, sample: int = 256) -> list[Plan]:
    return plan(experiments, H100, sample)


def states(found: Plan) -> dict[str, str]:
    return {stage.name: stage.state for stage in found.stages}


def stage(found: Plan, name: str) -> Planned:
    return next(each for each in found.stages if each.name == name)
