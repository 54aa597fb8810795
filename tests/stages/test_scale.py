"""A large model under the built-in model's recipe or benchmarks: the sentence names the setting of its family."""

from types import SimpleNamespace

import pytest
import torch

from selectmm.command_line.reading import CONFIGS, ROOT, read_config
from selectmm.stages.scale import SETTINGS, too_small_for


def said(size: int, recipe: str, suite: str, family: str = "qwen2_5_vl", evaluated: bool = True) -> str:
    body = torch.nn.Linear(size // 1000, 1000, bias=False, device="meta")
    vlm = SimpleNamespace(model=body, family=SimpleNamespace(name=family))
    return too_small_for(vlm, recipe, suite if evaluated else None)


def test_what_was_made_for_the_built_in_model_is_named_with_the_setting_to_use() -> None:
    assert said(8_290_000_000, "embedded", "mini") == (
        "Recipe embedded and suite mini were made for the built-in model; this one has 8.3 billion parameters, so its "
        "results would say little. Use setting=qwen2_5_vl_7b_625k, followed by your own pool=… and model=…."
    )
    assert said(2_000_000_000, "embedded_short", "prism").startswith("Recipe embedded_short was made for the built-in")
    assert said(2_000_000_000, "qwen_vl_lora", "mini").startswith("Suite mini was made for the built-in model; this")
    for suite in ("mini_large", "mini_quickstart", "mini_study", "mini_video"):
        assert said(2_000_000_000, "qwen_vl_lora", suite).startswith(f"Suite {suite} was made for the built-in model")
        assert (CONFIGS / "suite" / f"{suite}.yaml").exists()
    assert "Use recipe=… and suite=… of its size." in said(2_000_000_000, "embedded", "mini", family="llava_onevision")


@pytest.mark.parametrize(
    ("size", "recipe", "suite", "evaluated"),
    [
        (160_000_000, "embedded", "mini", True),
        (8_000_000_000, "qwen_vl_lora", "prism", True),
        (8_000_000_000, "qwen_vl_lora", "mini", False),
    ],
)
def test_what_fits_is_not_warned_of(size: int, recipe: str, suite: str, evaluated: bool) -> None:
    assert said(size, recipe, suite, evaluated=evaluated) == ""


def test_every_family_of_a_paper_has_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    loaders = {path.stem: path.read_text() for path in (CONFIGS / "model").glob("*.yaml")}
    families = {text.split("selectmm.models.")[1].split(".load")[0] for text in loaders.values() if ".models." in text}
    assert families - {"llava_onevision"} == set(SETTINGS), "no paper that we know selects for LLaVA-OneVision"
    for family in ("qwen2_5_vl", "qwen3_vl"):
        config = read_config([f"setting={SETTINGS[family]}", "pool=llava_json", "pool.file=x", "pool.images=y"])
        assert config.model._target_ == f"selectmm.models.{family}.load"
        assert (config.recipe.name, config.scale, config.pool.file) == ("qwen_vl_lora", "full", "x")
