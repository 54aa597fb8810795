"""Which plans a measurement by `bench` corrects."""

from functools import cache
from pathlib import Path

import pytest

from selectmm.command_line.jobs import read_jobs
from selectmm.commands.plan import place as put
from selectmm.experiment import Experiment
from selectmm.instantiate import build
from selectmm.models.vlm import VLM
from selectmm.planning.corrections import file_of
from selectmm.planning.known.models import shapes_of
from tests.test_line import ROOT

FULL_SCALE = "setting=llava15_7b_665k"


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    monkeypatch.chdir(tmp_path)


@cache
def experiment(*words: str, multirun: bool = False) -> Experiment:
    config, method = read_jobs(list(words), multirun)[0]
    put(config, None, 1)
    return build(config, method)


def file(*words: str, multirun: bool = False, model: str = "llava15_7b_stage1", device: str = "h100") -> str:
    """Of an experiment with the shapes of a known model."""
    of = experiment(*words, multirun=multirun)
    return file_of(of.cache, of.config, of.recipe, shapes(model), device).name


@cache
def shapes(model: str) -> VLM:
    return shapes_of({"path": model}, "cuda")[0]


def test_bench_of_the_published_model_corrects_plans_of_its_setting_wherever_the_model_lies() -> None:
    """The first is what the help of `bench` names."""
    measured = file(FULL_SCALE, "model=llava15_7b", model="llava-hf/llava-1.5-7b-hf")
    assert measured == file("experiments=prism/main", "seed=0", "method=prism", multirun=True)
    elsewhere = ["model.path=/data/llava15_7b_stage1", "recipe.checkpoint_every=100"]
    assert measured == file(FULL_SCALE, "method=prism", *elsewhere)


@pytest.mark.parametrize("other", ["recipe.rank=8", "compute=liger", "model.dtype=float32"])
def test_other_work_is_measured_apart(other: str) -> None:
    assert file(FULL_SCALE, other) != file(FULL_SCALE)


def test_another_model_and_another_device_are_measured_apart() -> None:
    assert (
        len({file(FULL_SCALE), file(FULL_SCALE, model="llava15_13b_stage1"), file(FULL_SCALE, device="a100-80")}) == 3
    )
