"""What a training run writes while it runs: losses, checkpoints and, at its end, the adapter."""

import json
import math
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from selectmm.errors import UserError
from selectmm.records.stage import write_atomically
from selectmm.tuning.adapter import save_adapter
from selectmm.tuning.checkpoint import clear, restore, save_checkpoint, whole_weights
from selectmm.tuning.data import COUNTS, MicroBatch
from selectmm.tuning.module import Tuning
from selectmm.tuning.snapshots import save_snapshot, snapshot_steps, whole_moments, write_moments

LOSSES, REPORT = "losses.jsonl", "train.json"


def keep_losses(folder: Path, done: int) -> None:
    """Forget the losses after step ``done``: those steps are taken again. A file that needs no change is left alone."""
    losses = folder / LOSSES
    lines = losses.read_text().splitlines(keepends=True) if losses.exists() else None
    if lines is None or len(lines) > done:
        write_atomically(losses, "".join((lines or [])[:done]))


class TrainingCallback(pl.Callback):
    """Lightning calls it on every rank; only rank 0 writes.

    Args:
        asked: what a checkpoint has to be asked for with, see `selectmm.tuning.checkpoint.asked_of`.
        checkpoint: what to continue from, or None.
        counts: the `COUNTS` until there.
        rows: rows of one pass over the subset.
        snapshots: how many are kept, see `selectmm.tuning.snapshots`.
        log: called on rank 0 with every line of ``losses.jsonl``.
    """

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, object],
        *,
        checkpoint: Path | None,
        counts: list[int],
        rows: int,
        snapshots: int,
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self._folder, self._asked, self._checkpoint, self._log = folder, asked, checkpoint, log
        self._before, self._counts = np.asarray(counts), np.zeros(len(COUNTS), np.int64)
        self._rows, self._snapshots = rows, snapshots
        self._losses: list[torch.Tensor] = []
        self._since = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: Tuning) -> None:
        """Go on from the checkpoint, if there is one."""
        if trainer.world_size > 1:
            # Lightning's handler waits for a broadcast that the other ranks may never join; what is on disk is whole
            # at any moment, so a rank may as well end at once.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if self._checkpoint is not None:
            restore(pl_module, self._checkpoint)
        self._since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Tuning, outputs: dict, batch: MicroBatch, batch_idx: int
    ) -> None:
        """Count the micro-batch; after the last one of a step, end the step."""
        self._losses.append(outputs["answer_loss"])
        self._counts += batch.counts
        if len(self._losses) == trainer.accumulate_grad_batches:
            step = pl_module.done + (batch_idx + 1) // trainer.accumulate_grad_batches
            self._end_step(trainer, pl_module, step)

    def _end_step(self, trainer: pl.Trainer, module: Tuning, step: int) -> None:
        loss = float(trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean"))
        self._losses.clear()
        if not math.isfinite(loss):
            raise UserError(
                f"The loss of step {step} is {loss}; lower recipe.lr or recipe.projector_lr. The last checkpoint "
                f"before it is kept in {self._folder}."
            )
        now = time.perf_counter()
        lr = module.rate_of(step - 1)
        entry = {"step": step, "loss": loss, "lr": lr, "seconds": round(now - self._since, 4)}
        if trainer.is_global_zero:
            with (self._folder / LOSSES).open("a") as losses:
                losses.write(json.dumps(entry) + "\n")
        first_pass = min(module.steps, math.ceil(self._rows / module.recipe.batch_size))
        if step == first_pass:
            self._check_answers(trainer, module)
        if step in snapshot_steps(module.steps, self._snapshots)[:-1]:
            save_snapshot(module, self._folder, step, self._snapshots)
        if step % module.recipe.checkpoint_every == 0 and step < module.steps:
            save_checkpoint(module, self._asked, self._folder, step, self._total(trainer))
        self._since = time.perf_counter()
        if trainer.is_global_zero:
            self._log(entry)

    def _total(self, trainer: pl.Trainer) -> list[int]:
        counts = torch.tensor(self._counts, device=trainer.strategy.root_device)
        return (self._before + trainer.strategy.reduce(counts, reduce_op="sum").cpu().numpy()).tolist()

    def _check_answers(self, trainer: pl.Trainer, module: Tuning) -> None:
        counts = dict(zip(COUNTS, self._total(trainer), strict=True))
        if counts["answer_tokens"] == 0:
            raise UserError(
                f"None of {counts['rows']} rows has an answer token within its first {module.recipe.max_length} "
                f"tokens, so there is nothing to learn; raise recipe.max_length."
            )

    def on_train_end(self, trainer: pl.Trainer, pl_module: Tuning) -> None:
        """Write what was learned and, last of all, the report."""
        weights, counts = whole_weights(pl_module), self._total(trainer)
        moments = whole_moments(pl_module) if self._snapshots else None
        if not trainer.is_global_zero:
            return
        if moments is not None:
            write_moments(self._folder, pl_module, moments, pl_module.steps, self._snapshots)
        save_adapter(pl_module.wrapped, weights, self._folder)
        report = {
            "steps": pl_module.steps,
            **dict(zip(COUNTS, counts, strict=True)),
            "trainable_parameters": sum(weight.numel() for weight in weights.values()),
            "strategy": self._asked["strategy.kind"],
            "world_size": trainer.world_size,
        }
        write_atomically(self._folder / REPORT, json.dumps(report, indent=1))
        clear(self._folder)  # after the report: killed on the way, the run has still ended
