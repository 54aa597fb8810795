"""Experiments on tiny models, and their plans."""

from pathlib import Path

from hydra import compose, initialize_config_dir

from selectmm.experiment import Experiment
from selectmm.instantiate import build
from selectmm.planning.gpus import GPUS
from selectmm.planning.plan import plan
from selectmm.planning.stages import Plan, Planned
from tests.test_line import ROOT, overrides

H100 = GPUS["h100"]


def words(place: Path, output: str, *arguments: str) -> list[str]:
    return [*overrides(place, "llava15_7b", output), "recipe.max_length=1024", "suite=prism", *arguments]


def experiment_of(place: Path, output: str, *arguments: str) -> Experiment:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        config = compose("run", words(place, output, *arguments))
    return build(config, next(a.split("=")[1] for a in arguments if a.startswith("method=")))


def planned(*experiments: Experiment, sample: int = 256) -> list[Plan]:
    return plan(experiments, H100, sample)


def states(found: Plan) -> dict[str, str]:
    return {stage.name: stage.state for stage in found.stages}


def stage(found: Plan, name: str) -> Planned:
    return next(each for each in found.stages if each.name == name)
