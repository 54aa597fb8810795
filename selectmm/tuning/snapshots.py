"""Points of a training that are kept: the adapter and Adam's moments at equal distances of steps.

The last of them is the training's result. The folder of a training that keeps n has ``snapshot-1`` to
``snapshot-<n−1>`` beside its own files; each, and the folder itself, holds an adapter, ``moments.safetensors`` and
``snapshot.json``. A training of fewer than n steps keeps as many as it has steps.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean

import torch
from pytorch_lightning.strategies import DeepSpeedStrategy
from safetensors.torch import save

from selectmm.cache.no_links import open_unlinked, refuse_links
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.tuning.adapter import save_adapter
from selectmm.tuning.adapter_file import MOMENTS
from selectmm.tuning.checkpoint import gathered_weights
from selectmm.tuning.module import Tuning
from selectmm.tuning.tensors import read_tensors

META = "snapshot.json"
KINDS = ("exp_avg", "exp_avg_sq")  # PyTorch's names of Adam's first and second moment

Moments = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
"""First and second moment of each LoRA matrix by its module's name in the model, such as ``….q_proj.lora_A``."""


def snapshot_steps(steps: int, snapshots: int) -> list[int]:
    """The optimiser steps (from 1) after which a snapshot is taken, ascending, the last one being ``steps``."""
    count = min(steps, snapshots)
    return [round(steps * (number + 1) / count) for number in range(count)]


def snapshots_in(folder: Path) -> list[tuple[Path, float]]:
    """The snapshots of a finished training, first to last: their folders, and the mean rate of the steps up to each
    from the one before."""
    earlier = sorted(folder.glob("snapshot-*"), key=lambda found: int(found.name.partition("-")[2]))
    return [(found, json.loads((found / META).read_text())["rate"]) for found in [*earlier, folder]]


def save_snapshot(module: Tuning, folder: Path, step: int, snapshots: int) -> None:
    """Write ``folder/snapshot-<number>``, unless a run that was killed later has done so; every rank calls it."""
    place = folder / f"snapshot-{snapshot_steps(module.steps, snapshots).index(step) + 1}"
    weights, moments = gathered_weights(module), gathered_moments(module)
    if module.global_rank == 0 and not place.exists():
        beside = folder / f".{place.name}"
        refuse_links([beside])
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        save_adapter(module.wrapped, weights, beside)
        write_moments(beside, module, moments, step, snapshots)
        beside.rename(place)


def write_moments(folder: Path, module: Tuning, moments: Moments, step: int, snapshots: int) -> None:
    """Write Adam's moments after ``step``, and the mean rate of the steps since the snapshot before."""
    before = [0, *(other for other in snapshot_steps(module.steps, snapshots) if other < step)][-1]
    rate = fmean(module.rate_of(taken) for taken in range(before, step))
    flat = {
        f"{name}.{kind}": tensor for name, pair in moments.items() for kind, tensor in zip(KINDS, pair, strict=True)
    }
    beside = folder / f".{MOMENTS}"
    with open_unlinked(beside, "wb") as file:
        file.write(save(flat))
    beside.replace(folder / MOMENTS)
    write_atomically(folder / META, json.dumps({"step": step, "rate": rate}))


def gathered_moments(module: Tuning) -> Moments:
    """The LoRA matrices' moments, not sharded, in float32 on the CPU; every rank calls it, only rank 0 gets them."""
    found = {}
    for name, weight in module.trained().items():
        if ".lora_" in name:
            pair = _moments_of(module, weight)
            if module.global_rank == 0:
                first, second = (one.detach().float().cpu().contiguous() for one in pair)
                found[_module_name(name)] = first, second
    return found


def read_moments(folder: Path, device: torch.device, names: Sequence[str]) -> Moments:
    """The moments of a snapshot on a device, of the matrices ``names``.

    Raises:
        UserError: the folder holds none, or none of those matrices.
    """
    if not (folder / MOMENTS).is_file():
        raise UserError(
            f"There are no moments of Adam in {folder}: they are kept by a warm-up whose method asks for checkpoints."
        )
    found = _opened(folder, device)
    if missing := [name for name in names if name not in found]:
        raise UserError(f"The moments in {folder} lack those of {missing[0]}: they are of another training.")
    return {name: found[name] for name in names}


@lru_cache(maxsize=1)
def _opened(folder: Path, device: torch.device) -> Moments:
    flat = {name: tensor.to(device) for name, tensor in read_tensors(folder / MOMENTS).items()}
    first, second = (f".{kind}" for kind in KINDS)
    names = [name.removesuffix(first) for name in flat if name.endswith(first)]
    return {name: (flat[name + first], flat[name + second]) for name in names if name + second in flat}


def _moments_of(module: Tuning, weight: torch.nn.Parameter) -> Sequence[torch.Tensor]:
    if isinstance(module.trainer.strategy, DeepSpeedStrategy):
        from deepspeed.utils import safe_get_full_optimizer_state  # here, because it is slow to import, and talkative

        return [safe_get_full_optimizer_state(weight, kind) for kind in KINDS]
    return [module.trainer.optimizers[0].state[weight][kind] for kind in KINDS]


def _module_name(weight: str) -> str:
    """``base_model.model.<module>.lora_A.default.weight`` as ``<module>.lora_A``."""
    return weight.removeprefix("base_model.model.").removesuffix(".default.weight")
