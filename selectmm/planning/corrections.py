"""What `selectmm bench` measured on a machine, by which a plan corrects its estimates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selectmm.cache.stage import fingerprint, write_atomically
from selectmm.flops.gpus import Gpu
from selectmm.models.load import pick_dtype
from selectmm.models.vlm import VLM
from selectmm.planning.stages import Planned
from selectmm.planning.work import GRADIENTS
from selectmm.tuning.recipe import Recipe

FOLDER = "bench"
KINDS = {
    "warm-up": "tuning",
    "finetune": "tuning",
    "evaluate": "decoding",
    "features": "features",
    "scoring": "features",
}


@dataclass(frozen=True)
class Corrections:
    """Measured seconds of each kind of work as a multiple of their estimate; none if nothing was measured.

    Attributes:
        factors: by kind: ``tuning``, ``features``, ``gradients``, ``decoding``.
        source: a sentence for the page; empty without.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    source: str = ""

    @classmethod
    def of(cls, cache: Path, config: Mapping[str, Any], recipe: Recipe, vlm: VLM, gpu: Gpu) -> "Corrections":
        """The cache folder's corrections for this model and recipe on that device; see `file_of`."""
        file = file_of(cache, config, recipe, vlm, gpu.name)
        if not file.exists():
            return cls()
        kept = json.loads(file.read_text())
        factors = ", ".join(f"{kind} × {factor:.2g}" for kind, factor in kept["factors"].items())
        return cls(
            kept["factors"], f"Seconds corrected by `selectmm bench` of {kept['date']} ({kept['device']}): {factors}."
        )

    def factor(self, stage: Planned) -> float | None:
        """The factor for a stage of a plan; what was measured of our own decoding says nothing of vLLM."""
        if stage.work.overhead:
            return None
        kind = KINDS.get(stage.name)
        if kind == "features" and any(one.__name__ in stage.what for one in GRADIENTS):
            kind = "gradients"
        return self.factors.get(kind) if kind else None


def file_of(cache: Path, config: Mapping[str, Any], recipe: Recipe, vlm: VLM, device: str) -> Path:
    """The file of what was measured of a model's shapes and a recipe on a kind of device.

    The model's path counts for nothing, nor does what of the recipe changes no step; so a model with published weights
    corrects the plans of one that has yet to be made, or lies elsewhere.

    Args:
        config: the whole configuration, of which dtype and kernels count. vlm: the model, or its shapes. device: the
            name of a `Gpu`.
    """
    asked = str(config["model"].get("dtype", "auto"))
    measured = {
        "model": type(vlm.model).__name__,
        "shapes": {name: list(value.shape) for name, value in vlm.model.named_parameters() if not _of_words(name)},
        "dtype": str(pick_dtype(asked, torch.device("cpu" if device == "cpu" else "cuda"))),
        "compute": config["compute"],
        "recipe": recipe.learned(),
    }
    return cache / FOLDER / f"{device}-{fingerprint(measured)}.json"


def _of_words(parameter: str) -> bool:
    """Whether a parameter has a row for each word: checkpoints of one model are padded to different vocabularies."""
    return not {"embed_tokens", "lm_head"}.isdisjoint(parameter.split("."))


def keep(file: Path, content: Mapping[str, Any]) -> None:
    """Write what was measured."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
