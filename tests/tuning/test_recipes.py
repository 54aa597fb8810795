"""The files under configs/recipe and configs/strategy, and the page that shows them."""

import re
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from selectmm.errors import UserError
from selectmm.tuning.recipe import Recipe, Strategy
from tests.families import FAMILIES
from tests.tuning.conftest import Bench

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(file.stem for file in (CONFIGS / "recipe").glob("*.yaml"))
PUBLISHED = [name for name in RECIPES if not name.startswith("embedded")]
STRATEGIES = sorted(file.stem for file in (CONFIGS / "strategy").glob("*.yaml"))
PAGE = (Path(__file__).parents[2] / "selectmm/tuning/README.md").read_text()
MODELS = {"qwen_vl_lora": "qwen2_5_vl", "dataprophet_full": "internvl3"}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m selectmm` sets it."""
    monkeypatch.setenv("SELECTMM_ROOT", str(CONFIGS.parent))


@cache
def composed(group: str, name: str) -> dict[str, object]:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_container(compose("run", [f"{group}={name}"])[group])


def test_all_recipes_that_papers_are_compared_by_are_there() -> None:
    assert PUBLISHED == sorted(
        ["llava15_lora", "llava15_full", "qwen_vl_lora", "tive_warmup", "scalselect_full", "dataprophet_full"]
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_writes_every_value_down(name: str) -> None:
    written = composed("recipe", name)
    assert written["name"] == name
    assert written.keys() == {"_target_", *(field.name for field in fields(Recipe))}


@pytest.mark.parametrize("name", RECIPES)
def test_how_often_checkpoints_are_written_names_no_result(name: str) -> None:
    recipe: Recipe = instantiate(composed("recipe", name))
    assert replace(recipe, checkpoint_every=7).learned() == recipe.learned()


def test_what_was_trained_with_rounded_buffers_is_not_taken_for_what_is_trained_now() -> None:
    recipe: Recipe = instantiate(composed("recipe", "llava15_lora"))
    fields_of = asdict(recipe).keys() - {"name", "length", "epochs", "checkpoint_every"}
    assert recipe.learned().keys() == fields_of, "so that other trainings keep their names"
    assert replace(recipe, precision="bf16-true").learned().keys() == fields_of | {"buffers"}


OUT_OF_RANGE = [
    *[(name, value) for name in ("batch_size", "micro_batch") for value in (0, -1)],
    ("rank", -1),
    ("rank", 0),
    ("rank", 10**6 + 1),
    *[("alpha", value) for value in (0, -8, 10**6 + 1)],
    *[("epochs", value) for value in (0.0, -1.0, float("inf"), float("nan"))],
    *[("dropout", value) for value in (-0.1, 1.0, float("nan"))],
    *[("lr", value) for value in (-1e-4, float("inf"), float("nan"))],
    ("projector_lr", -1e-4),
    ("vision_lr", -1e-4),
    *[(name, value) for name in ("weight_decay", "clip") for value in (-0.1, float("inf"), float("nan"))],
    *[("max_length", value) for value in (0, -1)],
    *[("warmup", value) for value in (-0.1, 1.1, float("nan"))],
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_number_out_of_its_range_is_refused_by_its_name(name: str, value: float) -> None:
    with pytest.raises(UserError, match=rf"recipe\.{name}"):
        replace(instantiate(composed("recipe", "llava15_lora")), **{name: value})


def test_a_recipe_that_trains_nothing_is_refused() -> None:
    recipe = instantiate(composed("recipe", "llava15_lora"))
    assert replace(recipe, lr=0.0).projector_lr > 0, "the projector alone"
    with pytest.raises(UserError, match=r"recipe\.lr=0 trains nothing"):
        replace(recipe, lr=0.0, projector_lr=0.0, vision_lr=0.0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_says_where_every_value_is_from(name: str) -> None:
    text = (CONFIGS / "recipe" / f"{name}.yaml").read_text()
    for field in fields(Recipe):
        assert field.name == "name" or re.search(rf"^{field.name}: \S+ +# \S+", text, re.MULTILINE), field.name


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_is_what_its_file_is_called(name: str) -> None:
    written = composed("strategy", name)
    assert written.keys() == {"_target_", *(field.name for field in fields(Strategy))} - {"devices"}, "a run's own key"
    strategy = instantiate(written)
    assert name == f"{strategy.kind}{'_offload' * strategy.offload}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_trains(name: str, tmp_path: Path, pool: object) -> None:
    """Two steps of eight rows; nothing but sizes is changed."""
    build = FAMILIES[MODELS.get(name, "llava_vicuna")].build(tmp_path / "model")
    recipe: Recipe = instantiate(composed("recipe", name))
    small = replace(recipe, batch_size=4, micro_batch=2, rank=min(recipe.rank, 4))
    losses = Bench(instantiate(build), build, pool).tune(tmp_path / "out", small, rows=np.arange(8))
    assert len(losses) == 2


def test_the_page_shows_every_published_recipe_as_its_file_has_it() -> None:
    """A value with a star is ours: its source begins with that word."""
    shown = table("recipes")
    assert sorted(shown[0][1:]) == PUBLISHED
    names = shown[0][1:]
    assert [row[0] for row in shown[1:]] == [field.name for field in fields(Recipe) if field.name != "name"]
    for number, name in enumerate(names, start=1):
        recipe = asdict(instantiate(composed("recipe", name)))
        text = (CONFIGS / "recipe" / f"{name}.yaml").read_text()
        for row in shown[1:]:
            ours = re.search(rf"^{row[0]}: \S+ +# ours", text, re.MULTILINE) is not None
            assert row[number] == f"{_said(recipe[row[0]])}{'*' * ours}", (name, row[0])


def test_the_page_shows_every_strategy() -> None:
    assert sorted(row[0].strip("`") for row in table("strategies")[1:]) == STRATEGIES


def table(marker: str) -> list[list[str]]:
    """The cells of a table of the page, without the line under its head."""
    lines = PAGE.split(f"<!-- {marker}:begin -->")[1].split(f"<!-- {marker}:end -->")[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
