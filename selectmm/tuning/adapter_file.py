"""Read an adapter's two files. They may come from anybody: what is allowed is what a run of ours writes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from selectmm.cache.content import check_content
from selectmm.cache.reading import Mismatch, named
from selectmm.errors import UserError
from selectmm.tuning.recipe import HIGHEST
from selectmm.tuning.tensors import read_tensors

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
MOMENTS = "moments.safetensors"  # of Adam, where a training kept snapshots
LARGEST = 2**20  # bytes of a configuration; ours have two thousand

_READ = {"r", "lora_alpha", "lora_dropout", "modules_to_save"}
_PASSED_OVER = {  # of another machine or version; where LoRA sits, the names of the weights say
    "base_model_name_or_path", "peft_version", "inference_mode", "target_modules",
}  # fmt: skip
_OFF: tuple[object, ...] = (None, False, {}, [])
_PREFIX = "base_model.model."
_LORA = re.compile(re.escape(_PREFIX) + r"(.+)\.lora_[AB]\.weight")


@dataclass(frozen=True)
class AdapterFile:
    """What an adapter's files say, checked: values of LoRA, and the weights by peft's names.

    ``layers`` are the full names of the modules that LoRA sits on, ``in_full`` those that were trained in full.
    """

    rank: int
    alpha: float
    dropout: float
    layers: tuple[str, ...]
    in_full: tuple[str, ...]
    weights: Mapping[str, torch.Tensor]

    def config(self) -> LoraConfig:
        """The configuration for peft, made here: nothing of the file reaches it that was not looked at."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft divides by it, so a fraction works as well
            lora_dropout=self.dropout,
            target_modules="|".join(map(re.escape, self.layers)),
            modules_to_save=list(self.in_full) or None,
            inference_mode=True,
        )


def read_adapter(folder: Path) -> AdapterFile:
    """Read and check both files; whether they fit a model, its modules' names and shapes say.

    Raises:
        UserError: a file is missing or damaged, or says what no run of ours writes.
    """
    if not (folder / WEIGHTS).is_file() or not (folder / CONFIG).is_file():
        raise UserError(f"There is no adapter in {folder}: it needs {WEIGHTS} and {CONFIG}.")
    content = _content(folder / CONFIG)
    try:
        check_content(content)
        _check_keys(content)
        rank, in_full = _positive_integer(content, "r"), _in_full(content)
        alpha, dropout = _number(content, "lora_alpha", HIGHEST), _number(content, "lora_dropout", 1.0)
        if alpha == 0:
            raise Mismatch("field 'lora_alpha' is 0, with which LoRA does nothing")
    except Mismatch as problem:
        raise UserError(
            f"The adapter's {folder / CONFIG} cannot be used: {problem}. Only LoRA adapters as selectmm writes them "
            f"are read; take the file from where it was trained."
        ) from problem
    weights = read_tensors(folder / WEIGHTS)
    return AdapterFile(rank, alpha, dropout, _layers(weights), in_full, weights)


def _content(file: Path) -> Any:
    try:
        if file.stat().st_size > LARGEST:
            raise UserError(f"{file} is not an adapter's configuration: it is larger than {LARGEST // 2**20} MiB.")
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as problem:
        raise UserError(
            f"The adapter's {file} is not JSON ({problem}); take the file from where it was trained."
        ) from problem


def _check_keys(content: object) -> None:
    """Everything but what is read stands as it stands by default, or is off."""
    if not isinstance(content, dict):
        raise Mismatch(f"it holds a {type(content).__name__}, not an object")
    plain = json.loads(json.dumps(LoraConfig().to_dict(), default=str))
    if content.get("peft_type") != plain["peft_type"]:
        raise Mismatch(f"field 'peft_type' is {content.get('peft_type')!a:.40}, not 'LORA'")
    for key, value in content.items():
        known = key in _READ | _PASSED_OVER or value in _OFF or (key in plain and _same(value, plain[key]))
        if not known:
            raise Mismatch(f"field '{named(key)}' is {value!a:.60}, which no run of selectmm sets")


def _same(value: object, other: object) -> bool:
    return value == other and type(value) is type(other)


def _in_full(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The projector, if it was trained in full; nothing else is."""
    value = content.get("modules_to_save")
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], str):
        raise Mismatch(f"field 'modules_to_save' is {value!a:.60}, not null or a list of the projector's name")
    return (value[0],)


def _positive_integer(content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    if type(value) is not int or not 0 < value <= HIGHEST:
        raise Mismatch(f"field '{key}' is {value!a:.40}, not a whole number above 0")
    return value


def _number(content: Mapping[str, Any], key: str, most: float) -> float:
    value: Any = content.get(key)
    if type(value) not in (int, float) or not 0 <= value <= most:
        raise Mismatch(f"field '{key}' is {value!a:.40}, not a number from 0 to {most:g}")
    return value


def _layers(weights: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(found[1] for name in weights if (found := _LORA.fullmatch(name))))
