"""Which layers of a model a recipe puts LoRA on."""

import re
from collections.abc import Iterator

from torch import nn

from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.tuning.recipe import Recipe

_NUMBER = re.compile(r"\.layers?\.(\d+)\.")  # which layer of the vision tower a module is in


def lora_pattern(vlm: VLM, recipe: Recipe) -> str:
    """A regular expression that matches the names of those layers, which is what peft takes.

    Raises:
        UserError: the family's pattern matches no module of this model, or a part has no linear layers.
    """
    language = vlm.family.lora if recipe.lora_layers == "all" else rf"(?=.*\.self_attn\.){vlm.family.lora}"
    if not any_match(vlm, language):
        raise UserError(f"No module of this {vlm.family.name} model matches the LoRA pattern {language}; correct it.")
    parts = [language]
    if recipe.vision_lr > 0:
        parts.append(_exactly(vlm, "vision tower", _tower(vlm), "vision_lr=0"))
    if recipe.projector_lr > 0 and recipe.projector == "lora":
        parts.append(_exactly(vlm, "projector", _linear(vlm, vlm.family.projector), "projector=full"))
    return "|".join(parts)


def any_match(vlm: VLM, pattern: str) -> bool:
    """Whether the pattern matches a module of the model."""
    return any(re.fullmatch(pattern, name) for name, _ in vlm.model.named_modules())


def _exactly(vlm: VLM, part: str, names: Iterator[str], instead: str) -> str:
    found = [re.escape(name) for name in names]
    if not found:
        raise UserError(
            f"The {part} of this {vlm.family.name} model has no linear layers that LoRA could adapt; set "
            f"recipe.{instead}."
        )
    return "|".join(found)


def _linear(vlm: VLM, path: str) -> Iterator[str]:
    """Names of the linear layers below a module."""
    for name, module in vlm.model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith(f"{path}."):
            yield name


def _tower(vlm: VLM) -> Iterator[str]:
    """The tower's linear layers, but for the projector that Qwen-VL has inside, and for what no image passes through.

    LLaVA reads its tower's last layer but one: weights of the last would get no gradient, which DDP refuses.
    """
    read = getattr(vlm.model.config, "vision_feature_layer", None)
    for name in _linear(vlm, vlm.family.vision):
        number = _NUMBER.search(name)
        unread = read is not None and (number is None or int(number[1]) >= _layers_read(vlm, read))
        if not name.startswith(f"{vlm.family.projector}.") and not unread:
            yield name


def _layers_read(vlm: VLM, read: int | list[int]) -> int:
    """How many of the tower's layers an image passes through; ``read`` counts the states before and after layers."""
    states = vlm.model.config.vision_config.num_hidden_layers + 1
    return max(layer % states for layer in ([read] if isinstance(read, int) else read))
