"""Does the scale fit? A large model under what was made for the small built-in one, or too few rows for the recipe."""

from selectmm.counted import counted
from selectmm.models.vlm import VLM
from selectmm.tuning.module import rate
from selectmm.tuning.recipe import Recipe

LARGE = 500_000_000  # parameters; the built-in model has a third of that
# The suites and recipes made for the built-in model are named mini, mini_large, … and embedded, embedded_long, ….
TOY_SUITE = "mini"
TOY_RECIPE = "embedded"

# The setting of each family: configs/setting/<name>.yaml.
SETTINGS = {
    "llava": "llava15_7b_665k",
    "qwen2_vl": "qwen2_5_vl_7b_625k",
    "qwen2_5_vl": "qwen2_5_vl_7b_625k",
    "qwen3_vl": "qwen3_vl_8b_625k",
    "internvl3": "internvl3_2b_dataprophet",
}


def too_small_for(vlm: VLM, recipe: str, suite: str | None) -> str:
    """A sentence if recipe or suite were made for the built-in model and this model is larger; empty if all fits.

    Args:
        recipe, suite: their names; None for a command that only selects.
    """
    size = sum(weight.numel() for weight in vlm.model.parameters())
    toys = [f"recipe {recipe}"] if recipe.partition("_")[0] == TOY_RECIPE else []
    toys += [f"suite {suite}"] if suite and suite.partition("_")[0] == TOY_SUITE else []
    if size < LARGE or not toys:
        return ""
    way = "recipe=… and suite=… of its size"
    if vlm.family.name in SETTINGS:
        way = f"setting={SETTINGS[vlm.family.name]}, followed by your own pool=… and model=…"
    return (
        f"{' and '.join(toys).capitalize()} {'were' if len(toys) > 1 else 'was'} made for the built-in model; this one "
        f"has {size / 1e9:.1f} billion parameters, so its results would say little. Use {way}."
    )


def too_few_steps(recipe: Recipe, steps: int, what: str) -> str:
    """A sentence if no optimiser step of a training has a rate above 0, as the first of a rise has none; else empty.

    Args:
        what: the training's name.
    """
    if any(rate(step, steps, recipe.warmup) for step in range(steps)):
        return ""
    return (
        f"The {what} has {counted(steps, 'step')}, at a rate of 0 by recipe.warmup={recipe.warmup:g}, and learns "
        f"nothing. Set recipe.warmup=0, lower recipe.batch_size={recipe.batch_size}, or train on more rows."
    )
