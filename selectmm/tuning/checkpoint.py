"""Resumable checkpoints: trained weights and optimiser state, never the frozen weights."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy

from selectmm.errors import UserError
from selectmm.pool.pool import Pool
from selectmm.pool.table import TAKEN_AT_ONCE
from selectmm.tuning.job import HANDED_ON, Task
from selectmm.tuning.module import Tuning
from selectmm.tuning.shards import files_of, take_up
from selectmm.tuning.trusted import check_own, nothing_runs

STATE = "state.pt"
KIND, DEVICES = "strategy.kind", "strategy.devices"
ANY_NUMBER = {"single", "ddp", "zero2"}  # strategies whose checkpoints any number of ranks can take up
# Of a recipe: what a run may change its mind on, because `Recipe.learned` names no result by it; ``steps`` is compared.
FREE = {f"recipe.{name}" for name in ("name", "length", "epochs", "checkpoint_every")}


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint in ``folder``."""
    return max(folder.glob("checkpoint-*"), default=None)


def expected_meta(task: Task, pool: Pool, rows: np.ndarray) -> dict[str, Any]:
    """What a run must agree in with a checkpoint that it goes on from, by the names under which a user sets it.

    The same in a worker, whose pool holds the chosen rows alone.
    """
    chosen = pool.table["digest"].take(pa.array(rows))
    recipe = {key: value for name, value in asdict(task.recipe).items() if (key := f"recipe.{name}") not in FREE}
    strategy = {f"strategy.{name}": value for name, value in asdict(task.strategy).items()}
    content = hashlib.sha256()
    for start in range(0, len(rows), TAKEN_AT_ONCE):  # as Python's strings they take three times the memory
        content.update("".join(chosen.slice(start, TAKEN_AT_ONCE).to_pylist()).encode())
    asked = {**strategy, **recipe, "seed": task.seed, "steps": task.steps, "rows": content.hexdigest()[:16]}
    asked |= {"snapshots": task.snapshots} if task.snapshots else {}
    if task.part:
        asked |= {f"part.{name}": value for name, value in asdict(task.part).items() if name != "before"}
    return json.loads(json.dumps(asked))  # as it will be read


def read_meta(checkpoint: Path, asked: Mapping[str, Any]) -> tuple[int, list[int]]:
    """The checkpoint's step and the `COUNTS` until then.

    Args:
        asked: see `expected_meta`.

    Raises:
        UserError: another user may have written it (`check_own`), it is none, or it belongs to another run: another
            recipe, seed or rows, or ZeRO-3's on another number of devices.
    """
    step, counts, before = _meta(checkpoint)
    names = [name for name in {**asked, **before} if name not in FREE]  # earlier versions wrote some of them down
    _check_same(checkpoint, asked, before, names, checkpoint.parent)
    return step, counts


def _meta(checkpoint: Path) -> tuple[int, list[int], dict[str, Any]]:
    """The checkpoint's step, the `COUNTS` until then, and what it was asked for with (`expected_meta`)."""
    check_own(checkpoint)
    try:
        meta = json.loads((checkpoint / "meta.json").read_text())
        return meta["step"], list(meta["counts"]), dict(meta["asked"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise UserError(
            f"{checkpoint} is not a checkpoint that this version wrote ({problem!r:.80}); delete it, and start again."
        ) from problem


def _check_same(
    checkpoint: Path, asked: Mapping[str, Any], before: Mapping[str, Any], names: Iterable[str], run: Path
) -> None:
    """Whether a run agrees in ``names`` with the one that wrote a checkpoint; ``run``: to delete, or to go on with.

    Raises:
        UserError: it does not.
    """
    for name in names:
        if name == DEVICES and asked[KIND] in ANY_NUMBER:
            continue
        if asked.get(name) != before.get(name):
            option = "devices" if name == DEVICES else name
            raise UserError(
                f"{checkpoint} was written under {option}={before.get(name)}, not {asked.get(name)}; go on with the "
                f"first, or delete {run}."
            )


def handed_on(task: Task) -> Path | None:
    """What a part of a run begins with: the last state of the part before; None for the first part.

    Raises:
        UserError: another user may have written it, it is none, or it is of another strategy, or ZeRO-3's on another
            number of devices.
    """
    if task.part is None or task.part.before is None:
        return None
    checkpoint = latest(Path(task.part.before) / HANDED_ON)
    if checkpoint is None:
        raise UserError(
            f"The last state of the training before step {task.part.first} is missing in {task.part.before}; delete "
            f"the folder above it, and start again."
        )
    *_, before = _meta(checkpoint)
    asked = {KIND: task.strategy.kind, DEVICES: task.strategy.devices}
    _check_same(checkpoint, asked, before, asked, Path(task.part.before).parent)
    return checkpoint


def hand_on(module: Tuning, asked: Mapping[str, Any], folder: Path, step: int, counts: list[int]) -> None:
    """Leave a part's last state in ``folder`` for the next part; every rank calls it."""
    if module.global_rank == 0:  # a part that was killed after it had written this writes it again
        shutil.rmtree(folder / HANDED_ON, ignore_errors=True)
        (folder / HANDED_ON).mkdir()
    save_checkpoint(module, asked, folder / HANDED_ON, step, counts)


def save_checkpoint(module: Tuning, asked: Mapping[str, Any], folder: Path, step: int, counts: list[int]) -> None:
    """Write ``folder/checkpoint-<step>`` and delete the one before (a kill leaves either); every rank calls it."""
    trainer = module.trainer
    whole = folder / f"checkpoint-{step:08d}"
    beside = folder / f".{whole.name}"
    if module.global_rank == 0:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(mode=0o700)  # closed to others, whatever the umask is: see `check_own`
        meta = {"step": step, "counts": counts, "asked": asked}
        (beside / "meta.json").write_text(json.dumps(meta))
    trainer.strategy.barrier()
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        engine = trainer.strategy.deepspeed_engine
        engine.save_checkpoint(str(beside), tag="state", exclude_frozen_parameters=True)
    elif module.global_rank == 0:
        weights = {name: weight.detach() for name, weight in module.trained().items()}
        optimizer = trainer.optimizers[0].state_dict()["state"]
        torch.save({"weights": weights, "optimizer": optimizer}, beside / STATE)
    trainer.strategy.barrier()
    if module.global_rank == 0:
        before = list(folder.glob("checkpoint-*"))
        beside.rename(whole)
        for other in before:
            shutil.rmtree(other)


def clear(folder: Path) -> None:
    """Delete the checkpoints of a run that has ended, unfinished ones too."""
    for checkpoint in [*folder.glob("checkpoint-*"), *folder.glob(".checkpoint-*")]:
        shutil.rmtree(checkpoint)


def restore(module: Tuning, checkpoint: Path) -> None:
    """Load weights and optimiser state into a set-up module; every rank calls it. Rates follow from the step alone.

    Raises:
        UserError: it is damaged, or holds more than numbers.
    """
    try:
        with nothing_runs():
            _restore(module, checkpoint)
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, ValueError, OSError) as problem:
        why = str(problem).partition("\n")[0] or type(problem).__name__
        raise UserError(
            f"The checkpoint {checkpoint} cannot be read ({why:.200}); delete it to train from the start."
        ) from problem


def _restore(module: Tuning, checkpoint: Path) -> None:
    trainer = module.trainer
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        engine = trainer.strategy.deepspeed_engine
        files = files_of(checkpoint / "state")
        if len(files) != trainer.world_size and not trainer.strategy.zero_stage_3:
            take_up(engine, {f"wrapped.{name}": weight for name, weight in module.trained().items()}, files)
            return
        engine.load_checkpoint(str(checkpoint), tag="state", load_module_strict=False, load_lr_scheduler_states=False)
        return
    state = torch.load(checkpoint / STATE, weights_only=True, map_location="cpu")
    with torch.no_grad():
        for name, weight in module.trained().items():
            weight.copy_(state["weights"][name])
    optimizer = trainer.optimizers[0]
    optimizer.load_state_dict({"state": state["optimizer"], "param_groups": optimizer.state_dict()["param_groups"]})


def gathered_weights(module: Tuning) -> dict[str, torch.Tensor]:
    """The trained weights on the CPU by their names in the wrapped model, not sharded; every rank calls it.

    Under DeepSpeed in bfloat16 they are the float32 master weights, as they are under DDP, not what was rounded for the
    last step. One weight at a time, because a model that is trained in full may not fit on one device, and for rank 0
    alone, which is the one to write them; other ranks get none.
    """
    deep = isinstance(module.trainer.strategy, DeepSpeedStrategy)
    weights = {}
    for name, weight in module.trained().items():
        full = _master(weight) if deep else weight.detach()
        if module.global_rank == 0:
            weights[name] = full.cpu().clone()
    return weights


def _master(weight: torch.nn.Parameter) -> torch.Tensor:
    from deepspeed.utils import safe_get_full_fp32_param  # here, because it is slow to import, and talkative

    return safe_get_full_fp32_param(weight)
