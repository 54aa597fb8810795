"""Put LoRA into a loaded model and take it out again; the adapter as files."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save

from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.records.stage import write_atomically
from selectmm.tuning.recipe import Recipe

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def lora_config(vlm: VLM, recipe: Recipe) -> LoraConfig:
    """LoRA on the family's target modules; the projector is trained in full if the recipe gives it a rate.

    Raises:
        UserError: the family's pattern matches no module of this model.
    """
    pattern = vlm.family.lora
    if not _matches(vlm, pattern):
        raise UserError(f"No module of this {vlm.family.name} model matches the LoRA pattern {pattern}; correct it.")
    return LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=pattern,
        modules_to_save=[vlm.family.projector] if recipe.projector_lr > 0 else None,
    )


@contextmanager
def injected(vlm: VLM, config: LoraConfig) -> Iterator[PeftModel]:
    """Wrap the model's layers in place for the length of the block; afterwards the model is as it was.

    "As it was" covers modules, weights (bit for bit), buffers, dtypes, training modes and which weights are trainable.
    """
    model = vlm.model
    modes = {module: module.training for module in model.modules()}
    weights = {weight: (weight.device, weight.dtype, weight.requires_grad) for weight in model.parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
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
        for module, training in modes.items():
            module.training = training
        for weight, (device, dtype, trainable) in weights.items():
            weight.data, weight.grad = weight.data.to(device, dtype), None
            weight.requires_grad_(trainable)
        for name, buffer in buffers.items():
            path, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(path), leaf, buffer)


@contextmanager
def load_adapter(vlm: VLM, folder: Path) -> Iterator[VLM]:
    """As `carry_adapter`, with LoRA merged into the weights, which is faster and how LLaVA evaluates too."""
    with carry_adapter(vlm, folder) as adapted, _merged(adapted):
        yield adapted


@contextmanager
def carry_adapter(vlm: VLM, folder: Path) -> Iterator[VLM]:
    """The model with an adapter of `finetune` beside its weights, for the length of the block; intact afterwards.

    Args:
        folder: holds ``adapter_model.safetensors`` and ``adapter_config.json``.

    Raises:
        UserError: there is no adapter, or it belongs to another model.
    """
    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise UserError(f"There is no adapter in {folder}: it needs {WEIGHTS} and {CONFIG}.")
    weights = load_file(folder / WEIGHTS)
    config = LoraConfig.from_pretrained(str(folder))
    stranger = UserError(f"The adapter in {folder} was made for another model than this {vlm.family.name}.")
    names = {name for name, _ in vlm.model.named_modules()}
    if not names.issuperset(config.modules_to_save or ()) or not _matches(vlm, config.target_modules):
        raise stranger
    with injected(vlm, config) as wrapped:
        expected = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        if {n: w.shape for n, w in weights.items()} != {n: w.shape for n, w in expected.items()}:
            raise stranger
        set_peft_model_state_dict(wrapped, weights)
        wrapped.eval().requires_grad_(False)
        yield replace(vlm, identity=identity_with(vlm.identity, folder))


def identity_with(model: str, folder: Path) -> str:
    """The identity of a model that carries the adapter in ``folder``."""
    return f"{model}+{hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:16]}"


@contextmanager
def _merged(adapted: VLM) -> Iterator[None]:
    """Add LoRA's products to the weights (two matrix products less per layer and token), and put the old ones back.

    The old weights wait in main memory, because subtracting again would not be exact.
    """
    layers = [module for module in adapted.model.modules() if isinstance(module, LoraLayer)]
    before = [layer.get_base_layer().weight.detach().to("cpu", copy=True) for layer in layers]
    for layer in layers:
        layer.merge()
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, old in zip(layers, before, strict=True):
                layer.get_base_layer().weight.copy_(old)


def save_adapter(wrapped: PeftModel, weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write the adapter in peft's format; ``weights`` are the trained parameters by their names in ``wrapped``."""
    config = wrapped.peft_config["default"]
    state = get_peft_model_state_dict(wrapped, dict(weights), save_embedding_layers=False)
    content = config.to_dict() | {"inference_mode": True}
    beside = folder / f".{WEIGHTS}"
    beside.write_bytes(save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}))
    beside.replace(folder / WEIGHTS)
    write_atomically(folder / CONFIG, json.dumps(content, indent=1, sort_keys=True, default=_plain))


def _matches(vlm: VLM, pattern: str) -> bool:
    return any(re.fullmatch(pattern, name) for name, _ in vlm.model.named_modules())


def _plain(value: object) -> object:
    return sorted(value) if isinstance(value, set) else str(value)
