"""Merge an adapter into its base and write a folder that transformers and lmms-eval load like any other."""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from selectmm.errors import UserError
from selectmm.export.card import Origin, card
from selectmm.export.folder import new_folder
from selectmm.export.template import chat_template
from selectmm.models.load import save_processor
from selectmm.models.vlm import VLM
from selectmm.records.record import RunRecord
from selectmm.tuning.adapter import load_adapter

from transformers import CLIPVisionModel, SiglipVisionModel  # isort: skip

_PEFT = [  # how peft renames what it wraps; what it adds stands under the last two
    (re.compile(r"\.base_layer\."), "."),
    (re.compile(r"\.modules_to_save\.[^.]+\."), "."),
    (re.compile(r".*\.lora_\w+\..*"), ""),
    (re.compile(r".*\.original_module\..*"), ""),
]


def export_model(vlm: VLM, adapter: Path, origin: Origin, to: Path, dtype: torch.dtype | None = None) -> None:
    """Write the tuned model, exactly as the evaluation sees it (`load_adapter`), with its processor and a card.

    Args:
        adapter: a folder that `finetune` wrote.
        origin: what the card says.
        to: a folder that does not exist yet, or is empty.
        dtype: of the written weights; None keeps that in which the base was opened, and then the weights are those
            that were evaluated, bit for bit.

    Raises:
        UserError: the base is quantised, the adapter is damaged or of another model, a merged weight is not finite, or
            ``to`` is not empty or cannot be written.
    """
    if getattr(vlm.model.config, "quantization_config", None) is not None:
        raise UserError(
            "The base is quantised, and LoRA cannot be merged into such weights without changing them; open the base "
            "unquantised (the adapter fits it as well)."
        )
    with new_folder(to) as folder, merged(vlm, adapter, folder, dtype) as tuned:
        template = chat_template(tuned)
        if template is not None:
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        text = card(tuned, origin, dtype or tuned.model.dtype, own_template=template is not None)
        (folder / "README.md").write_text(text, encoding="utf-8")


@contextmanager
def merged(vlm: VLM, adapter: Path, folder: Path, dtype: torch.dtype | None = None) -> Iterator[VLM]:
    """Write weights, configuration and processor of the tuned model into ``folder``; yields that model.

    Raises:
        UserError: see `export_model`.
    """
    names = list(vlm.model.state_dict())
    with _silent(), load_adapter(vlm, adapter) as tuned:
        weights = merged_weights(tuned, names)
        if dtype is not None:
            weights = cast(weights, dtype)
        _check_finite(weights, adapter)
        tuned.model.save_pretrained(folder, state_dict=_as_on_the_hub(vlm, weights), max_shard_size="5GB")
        save_processor(tuned.processor, folder)
        if dtype is not None:
            _name_dtype(folder / "config.json", dtype)
        yield tuned


def _as_on_the_hub(vlm: VLM, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A CLIP or SigLIP tower's weights as the hub's checkpoints name them, which is what other programs look for.

    transformers 5 drops a prefix of theirs, and writes it again only if it has read it.
    """
    tower = f"{vlm.family.vision}."
    if not isinstance(vlm.model.get_submodule(vlm.family.vision), CLIPVisionModel | SiglipVisionModel):
        return weights
    return {name.replace(tower, f"{tower}vision_model.", 1): weight for name, weight in weights.items()}


@contextmanager
def _silent() -> Iterator[None]:
    """Without peft's remark that the base lies in another folder than in training: `load_adapter` looks at weights."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The PEFT config's `base_model_name_or_path`")
        yield


def check_base(vlm: VLM, record: RunRecord) -> None:
    """Whether an opened model is the one that the run started from.

    Raises:
        UserError: it is another.
    """
    if vlm.identity != record.model:
        raise UserError(
            f"{record.name} was made with base {record.model}, but the model here is {vlm.identity} "
            f"({vlm.model.dtype}): set model.path and model.dtype to what the run used."
        )


def merged_weights(tuned: VLM, names: list[str]) -> dict[str, torch.Tensor]:
    """The weights inside a block of `load_adapter` under ``names``, those that the model has without peft's wrapping.

    LoRA is merged there already; of a module that was trained in full, the trained copy is taken, not the original.
    """
    found = {}
    for name, weight in tuned.model.state_dict().items():
        for pattern, plain in _PEFT:
            name = pattern.sub(plain, name)
        if name:
            found[name] = weight
    if found.keys() != set(names):
        raise RuntimeError(f"peft wraps this model in an unknown way: {sorted(found.keys() ^ set(names))[:3]}")
    return {name: found[name] for name in names}


def cast(weights: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Floating weights in another dtype; what was one tensor under two names (tied) still is."""
    done: dict[tuple[int, torch.Size], torch.Tensor] = {}
    result = dict(weights)
    for name, weight in weights.items():
        if weight.is_floating_point():
            key = weight.data_ptr(), weight.shape
            done[key] = result[name] = done[key] if key in done else weight.to(dtype)
    return result


def _check_finite(weights: dict[str, torch.Tensor], adapter: Path) -> None:
    """Whether all can be computed with: float16 ends at 65,504.

    Raises:
        UserError: naming the first weight that cannot.
    """
    for name, weight in weights.items():
        if weight.is_floating_point() and not torch.isfinite(weight).all():
            raise UserError(
                f"With the adapter {adapter} merged, {name} holds NaN or infinite numbers in {weight.dtype}, so "
                f"nothing is written; give another --dtype if it is float16, else the adapter or the base is damaged."
            )


def _name_dtype(config: Path, dtype: torch.dtype) -> None:
    """The configuration says which dtype to load, for the whole and for its parts."""
    word = str(dtype).removeprefix("torch.")

    def named(value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {key: word if key == "dtype" and entry else named(entry) for key, entry in value.items()}

    config.write_text(json.dumps(named(json.loads(config.read_text())), indent=2) + "\n")
