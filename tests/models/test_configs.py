"""Every model that can be chosen on the command line."""

import inspect
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_method

from selectmm.errors import UserError
from selectmm.instantiate import build
from selectmm.models import llava
from selectmm.planning.known.models import shapes_of

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SIZES = """
    llava15_7b llava15_13b llava15_7b_stage1 llava15_13b_stage1 llava_phi2 llava_llama3 llava_qwen25
    qwen2_vl_2b qwen2_vl_7b qwen2_5_vl_3b qwen2_5_vl_7b qwen3_vl_4b qwen3_vl_8b internvl3_2b
    llava_onevision_0_5b llava_onevision_7b
"""


def test_every_size_of_every_family_has_its_file() -> None:
    assert {file.stem for file in (CONFIGS / "model").glob("*.yaml")} == {"embedded", "embedded_clips", *SIZES.split()}


@pytest.mark.parametrize("name", SIZES.split())
def test_a_models_file_names_its_loader_and_every_option_of_it(name: str) -> None:
    options = yaml.safe_load((CONFIGS / "model" / f"{name}.yaml").read_text())
    loader = inspect.signature(get_method(options.pop("_target_"))).parameters
    assert options.keys() == loader.keys() - ({"square"} & loader.keys())
    assert options.get("template", "vicuna") in llava.TEMPLATES


@pytest.mark.parametrize("name", ["llava15_7b_stage1", "llava15_13b_stage1", "llava_phi2", "llava_qwen25"])
def test_a_model_without_a_known_public_checkpoint_asks_for_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(CONFIGS.parent))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("run", [f"model={name}"])
    with pytest.raises(UserError, match=r"Not set: model\.path; give model\.path="):
        build(config, "prism")


@pytest.mark.parametrize("name", ["qwen2_5_vl_7b", "qwen2_vl_7b", "qwen2_vl_2b", "qwen2_5_vl_3b"])
def test_the_depths_of_qwens_setting_are_those_of_every_model_that_takes_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what its header says to give beside the 3B model, which is deeper."""
    monkeypatch.setenv("SELECTMM_ROOT", str(CONFIGS.parent))
    setting = "qwen2_5_vl_7b_625k"
    header = (CONFIGS / "setting" / f"{setting}.yaml").read_text().partition("defaults:")[0]
    beside = re.findall(r"depth\.\w+=\d+", header) if name == "qwen2_5_vl_3b" else []
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("run", [f"setting={setting}", f"model={name}", *beside])
    layers = shapes_of(config.model, "cpu")[0].model.config.text_config.num_hidden_layers
    assert config.depth.deep == layers
    assert config.depth.middle == layers // 2
