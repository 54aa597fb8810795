"""Put LoRA into a loaded model and take it out again; what was trained as files."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save
from torch import nn

from selectmm.cache.no_links import open_unlinked
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.tuning.adapter_file import CONFIG, MOMENTS, WEIGHTS, read_adapter
from selectmm.tuning.full import TRAINED, FullModel, exchanged, opened
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.targets import lora_pattern
from selectmm.tuning.unchanged import unchanged


def lora_config(vlm: VLM, recipe: Recipe) -> LoraConfig:
    """LoRA where the recipe has it (`lora_pattern`), and a projector that is trained in full if it has that.

    Raises:
        UserError: there is no layer where LoRA would sit.
    """
    in_full = recipe.projector_lr > 0 and recipe.projector == "full"
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=lora_pattern(vlm, recipe),
        modules_to_save=[vlm.family.projector] if in_full else None,
    )


def trainable(vlm: VLM, recipe: Recipe, keep: bool) -> AbstractContextManager[PeftModel | FullModel]:
    """The model as the recipe trains it, for the length of a block; ``keep`` as in `selectmm.tuning.full.opened`."""
    return opened(vlm, recipe, keep) if recipe.tune == "full" else injected(vlm, lora_config(vlm, recipe))


@contextmanager
def injected(vlm: VLM, config: LoraConfig) -> Iterator[PeftModel]:
    """Wrap the model's layers in place for the length of the block; afterwards the model is as it was.

    "As it was" covers modules, weights (bit for bit), buffers, dtypes, training modes and which weights are trainable.
    """
    model = vlm.model
    with unchanged(model):
        saved = {name: model.get_submodule(name) for name in config.modules_to_save or ()}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that it is about to drop
            wrapped = get_peft_model(model, config)
        try:
            yield wrapped
        finally:
            wrapped.unload()
            for name, module in saved.items():  # peft's unload leaves the trained copy in the original's place
                model.set_submodule(name, module)


@contextmanager
def load_adapter(vlm: VLM, folder: Path, keep: bool = True) -> Iterator[VLM]:
    """Do as `carry_adapter`, with LoRA merged into the weights, which is faster and how LLaVA evaluates too.

    4-bit weights stay as they are: what is merged into them would be rounded to four bits again.

    Args:
        keep: whether the model is needed afterwards; its weights wait in main memory then, once more as much.
    """
    with carry_adapter(vlm, folder, keep) as adapted:
        with nullcontext() if getattr(vlm.model, "is_quantized", False) else _merged(adapted, keep):
            yield adapted


@contextmanager
def carry_adapter(vlm: VLM, folder: Path, keep: bool = True) -> Iterator[VLM]:
    """The model with what `finetune` trained, for the length of the block; intact afterwards.

    Args:
        folder: holds ``adapter_model.safetensors`` and ``adapter_config.json``, which come beside the model's weights,
            or ``trained.safetensors``, which take the place of weights.
        keep: whether the weights that others take the place of are needed afterwards.

    Raises:
        UserError: there is neither, it is damaged, says what no run of ours writes, or belongs to another model.
    """
    if (folder / TRAINED).is_file():
        with exchanged(vlm, folder, keep) as tuned:
            yield tuned
        return
    adapter = read_adapter(folder)
    stranger = UserError(f"The adapter in {folder} was made for another model than this {vlm.family.name}.")
    linear = {name for name, module in vlm.model.named_modules() if isinstance(module, nn.Linear)}
    if (
        not adapter.layers
        or not linear.issuperset(adapter.layers)
        or adapter.in_full not in ((), (vlm.family.projector,))
    ):
        raise stranger
    with injected(vlm, adapter.config()) as wrapped:
        expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        if {n: w.shape for n, w in adapter.weights.items()} != {n: w.shape for n, w in expected.items()}:
            raise stranger
        set_peft_model_state_dict(wrapped, dict(adapter.weights))
        wrapped.eval().requires_grad_(False)
        yield replace(vlm, identity=identity_with(vlm.identity, folder), adapter=folder)


def identity_with(model: str, folder: Path) -> str:
    """The identity of a model that carries the adapter in ``folder``, and the optimiser's moments if they lie there.

    What the model computes follows from the weights and from what LoRA's products are multiplied by, alpha / rank.
    """
    config = json.loads((folder / CONFIG).read_bytes())
    scale = json.dumps([config["r"], config["lora_alpha"]]).encode()
    contents = [(folder / WEIGHTS).read_bytes() + scale]
    if (folder / MOMENTS).exists():
        contents.append((folder / MOMENTS).read_bytes())
    return "+".join([model, *(hashlib.sha256(content).hexdigest()[:16] for content in contents)])


@contextmanager
def _merged(adapted: VLM, keep: bool) -> Iterator[None]:
    """Add LoRA's products to the weights (two matrix products less per layer and token), and put the old ones back.

    The old weights wait in main memory, because subtracting again would not be exact; not where nobody needs them.
    """
    layers: list[Any] = [module for module in adapted.model.modules() if isinstance(module, LoraLayer)]
    before = [layer.get_base_layer().weight.detach().to("cpu", copy=True) for layer in layers] if keep else []
    for layer in layers:
        layer.merge()
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, old in zip(layers if keep else [], before, strict=True):
                layer.get_base_layer().weight.copy_(old)


def save_adapter(wrapped: PeftModel | FullModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write an adapter in peft's format, or the weights of a model that was trained in full.

    Args:
        weights: the trained parameters by their names in ``wrapped``.
    """
    if isinstance(wrapped, FullModel):
        wrapped.save(weights, folder)
        return
    config = wrapped.peft_config["default"]
    state = get_peft_model_state_dict(wrapped, dict(weights), save_embedding_layers=False)
    content = config.to_dict() | {"inference_mode": True}
    beside = folder / f".{WEIGHTS}"
    with open_unlinked(beside, "wb") as file:
        file.write(save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}))
    beside.replace(folder / WEIGHTS)
    write_atomically(folder / CONFIG, json.dumps(content, indent=1, sort_keys=True, default=_plain))


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)
