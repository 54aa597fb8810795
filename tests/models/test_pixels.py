"""How many pixels a Qwen model is shown."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from selectmm.errors import UserError
from selectmm.instantiate import open_model
from selectmm.models.encode import Conversation, encode
from selectmm.models.load import save_processor
from selectmm.pool.sample import Turn
from tests.families import FAMILIES

from transformers import AutoProcessor  # isort: skip

CONFIGS = Path(__file__).parents[2] / "configs"
QWEN = {"qwen2_vl": 28, "qwen2_5_vl": 28, "qwen3_vl": 32}  # the side of a token in pixels
LARGE = Conversation((Turn("user", "What?"), Turn("assistant", "3")), (Image.new("RGB", (448, 448)),))


@pytest.mark.parametrize("name", QWEN)
def test_a_large_image_has_as_many_tokens_as_its_pixels_allow(name: str, tmp_path: Path) -> None:
    config = FAMILIES[name].build(tmp_path)
    own, again = instantiate(config), instantiate(config | {"max_pixels": None, "min_pixels": None})
    less = instantiate(config | {"max_pixels": 9 * QWEN[name] ** 2})
    more = instantiate(config | {"min_pixels": 49 * QWEN[name] ** 2, "max_pixels": 49 * QWEN[name] ** 2})
    tokens = [
        int((encode(vlm, [LARGE], side="right", limit=None)["input_ids"] == vlm.image_token_id).sum())
        for vlm in (own, less, more)
    ]
    assert tokens == [16, 9, 49]  # the tiny checkpoints' own limit is 16
    assert own.identity == again.identity
    assert len({vlm.identity for vlm in (own, less, more)}) == 3
    (tmp_path / "saved").mkdir()
    save_processor(less.processor, tmp_path / "saved")  # as an exported model's: others show it images of that size
    assert AutoProcessor.from_pretrained(tmp_path / "saved").image_processor.size == less.processor.image_processor.size
    with pytest.raises(UserError, match=r"between 12,544 and 784 pixels; set model\.min_pixels and model\.max_pixels"):
        open_model(config | {"min_pixels": 12544, "max_pixels": 784})


@pytest.mark.parametrize(("setting", "side"), [("qwen3_vl_8b_625k", 32), ("qwen2_5_vl_7b_625k", 28)])
def test_the_setting_shows_every_photo_within_the_recipes_tokens(
    setting: str, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(CONFIGS.parent))
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("run", [f"setting={setting}"])
    assert (config.model.min_pixels, config.model.max_pixels) == (16 * 28**2, 576 * 28**2)
    assert config.model.max_pixels / side**2 < config.recipe.max_length / 7
