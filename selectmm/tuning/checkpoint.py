"""Resumable checkpoints: trained weights and optimiser state, never the frozen weights."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import torch
from pytorch_lightning.strategies import DeepSpeedStrategy

from selectmm.errors import UserError
from selectmm.tuning.module import Tuning
from selectmm.tuning.recipe import Strategy

STATE = "state.pt"


def latest(folder: Path) -> Path | None:
    """The last whole checkpoint in ``folder``."""
    return max(folder.glob("checkpoint-*"), default=None)


def read_meta(checkpoint: Path, strategy: Strategy) -> tuple[int, list[int]]:
    """The checkpoint's step and the `COUNTS` until then.

    Raises:
        UserError: it was written under another strategy, whose shards cannot be read by this one.
    """
    meta = json.loads((checkpoint / "meta.json").read_text())
    if (meta["kind"], meta["devices"]) != (strategy.kind, strategy.devices):
        raise UserError(
            f"{checkpoint} was written under strategy {meta['kind']} on {meta['devices']} devices, not "
            f"{strategy.kind} on {strategy.devices}; go on with the first, or delete {checkpoint.parent}."
        )
    return meta["step"], meta["counts"]


def save_checkpoint(module: Tuning, strategy: Strategy, folder: Path, step: int, counts: list[int]) -> None:
    """Write ``folder/checkpoint-<step>`` and delete the one before (a kill leaves either); every rank calls it."""
    trainer = module.trainer
    whole = folder / f"checkpoint-{step:08d}"
    beside = folder / f".{whole.name}"
    if module.global_rank == 0:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        meta = {"step": step, "counts": counts, "kind": strategy.kind, "devices": strategy.devices}
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


def restore(module: Tuning, checkpoint: Path) -> None:
    """Load weights and optimiser state into a set-up module; every rank calls it. Rates follow from the step alone."""
    trainer = module.trainer
    if isinstance(trainer.strategy, DeepSpeedStrategy):
        engine = trainer.strategy.deepspeed_engine
        engine.load_checkpoint(str(checkpoint), tag="state", load_module_strict=False, load_lr_scheduler_states=False)
        return
    state = torch.load(checkpoint / STATE, weights_only=True, map_location="cpu")
    with torch.no_grad():
        for name, weight in module.trained().items():
            weight.copy_(state["weights"][name])
    optimizer = trainer.optimizers[0]
    optimizer.load_state_dict({"state": state["optimizer"], "param_groups": optimizer.state_dict()["param_groups"]})


def whole_weights(module: Tuning) -> dict[str, torch.Tensor]:
    """The trained weights on the CPU by their names in the wrapped model, not sharded; every rank calls it."""
    trained = module.trained()
    strategy = module.trainer.strategy
    with ExitStack() as stack:
        if isinstance(strategy, DeepSpeedStrategy) and strategy.zero_stage_3:
            import deepspeed  # here, because it is slow to import, and talkative

            stack.enter_context(deepspeed.zero.GatheredParameters(list(trained.values())))
        return {name: weight.detach().cpu().clone() for name, weight in trained.items()}
