"""The FLOPs of training steps, by the formulas that plans use (`selectmm.flops.formulas`)."""

from dataclasses import replace
from typing import Any

import torch

from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.formulas import Load, training
from selectmm.flops.gpus import recognised
from selectmm.flops.tower import projected, tower_flops
from selectmm.models.encode import IGNORED, Batch, Conversation, encode
from selectmm.models.vlm import VLM
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.targets import lora_pattern


class Work:
    """Counts a recipe's FLOPs on a model; made before anything is put into the model."""

    def __init__(self, vlm: VLM, recipe: Recipe, blank: Conversation) -> None:
        self._recipe = replace(recipe, gradient_checkpointing=False)  # what is computed again is no work done
        self._body = anatomy_of(vlm, lora_pattern(vlm, recipe) if recipe.tune == "lora" else None)
        tower_flops(vlm, encode(vlm, [blank], side="right", limit=None))  # known from here on, without another pass

    def of(self, load: tuple[Any, ...]) -> float:
        """Forward and backward of one micro-batch; ``load`` are the fields of its `Load`."""
        return training(self._body, Load(*load), self._recipe)


def load_of(vlm: VLM, batch: Batch) -> Load:
    """What a micro-batch in main memory holds, padding left out, as in a plan."""
    lengths, seen = _lengths(batch), int(vlm.is_visual(batch["input_ids"]).sum())
    return Load(
        rows=len(lengths),
        tokens=int(lengths.sum()),
        squares=int(lengths.square().sum()),
        image_tokens=seen,
        answers=int((batch["labels"] != IGNORED).sum()),
        tower=tower_flops(vlm, batch),
        projected=projected(vlm, batch, seen),
    )


def peak_of(device: torch.device, precision: str) -> float | None:
    """FLOP/s of a GPU whose data sheet is known; None for others, and for a CPU."""
    if device.type != "cuda":
        return None
    gpu = recognised(torch.cuda.get_device_name(device))
    return None if gpu is None else gpu.peak(precision)


def _lengths(batch: Batch) -> torch.Tensor:
    """Tokens of each row, [rows]; of a pack (`selectmm.models.pack`) those of its conversations."""
    if "attention_mask" in batch:
        return batch["attention_mask"].sum(1)
    places = batch["position_ids"].reshape(-1, batch["input_ids"].shape[1])[0]
    starts = (places == 0).nonzero().flatten()
    return torch.diff(starts, append=starts.new_tensor([len(places)]))
