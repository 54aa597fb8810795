"""What a training run writes while it runs: losses, checkpoints and, at its end, the adapter.

A line of ``losses.jsonl`` is a step: step, loss, lr, seconds, tokens_per_second, gradient_norm and, on a GPU
that `selectmm.flops.gpus` knows, share_of_peak.
"""

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DeepSpeedStrategy

from selectmm.cache.cost import note_busy
from selectmm.cache.no_links import open_unlinked, refuse_links
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.tuning.adapter import save_adapter
from selectmm.tuning.checkpoint import clear, gathered_weights, hand_on, restore, save_checkpoint
from selectmm.tuning.data import COUNTS, MicroBatch
from selectmm.tuning.job import Task
from selectmm.tuning.module import Tuning
from selectmm.tuning.snapshots import gathered_moments, save_snapshot, snapshot_steps, write_moments
from selectmm.tuning.work import Work, peak_of

LOSSES, REPORT = "losses.jsonl", "train.json"
POINTS = "points"  # folder: for each of the task's points a folder, named by its step, with what was learned by then


def row_losses_of(folder: Path) -> Iterator[dict[str, list]]:
    """What `keep_row_losses` is about: of every micro-batch its ``step``, ``places`` in the multiset and ``losses``.

    In the order of the steps. The loss of a row without answer is None.
    """
    lines = [json.loads(line) for file in sorted(folder.glob("rows-*.jsonl")) for line in file.open()]
    yield from sorted(lines, key=lambda line: line["step"])


def keep_row_losses(folder: Path, done: int, rank: int, ranks: int) -> None:
    """Forget the rows' losses after step ``done``; each rank looks after its own file, and after some of others that
    there were before."""
    for file in folder.glob("rows-*.jsonl"):
        if int(file.stem.removeprefix("rows-")) % ranks == rank:
            kept = [line for line in file.read_text().splitlines(keepends=True) if _step(line) <= done]
            write_atomically(file, "".join(kept))


def _append(file: Path, entry: Mapping[str, Any]) -> None:
    """Add a line, but not through a link that somebody puts there while a run trains."""
    with open_unlinked(file, "ab") as lines:
        lines.write((json.dumps(entry) + "\n").encode())


def _step(line: str) -> float:
    return json.loads(line)["step"] if line.endswith("\n") else math.inf  # a kill may leave half a line


def keep_losses(folder: Path, done: int) -> None:
    """Forget the losses after the first ``done`` steps: they are taken again. A file that needs no change is left
    alone."""
    losses = folder / LOSSES
    lines = losses.read_text().splitlines(keepends=True) if losses.exists() else None
    if lines is None or len(lines) > done:
        write_atomically(losses, "".join((lines or [])[:done]))


def _gradient_norm(trainer: pl.Trainer, module: Tuning) -> float | None:
    """Of the last step, before clipping; under DeepSpeed, which shares the gradients out, what its engine computed."""
    if not isinstance(trainer.strategy, DeepSpeedStrategy):
        return module.gradient_norm
    norm = trainer.strategy.deepspeed_engine.get_global_grad_norm()
    return None if norm is None else float(norm)


class TrainingCallback(pl.Callback):
    """Lightning calls it on every rank; only rank 0 writes.

    Args:
        asked: what a checkpoint has to be asked for with, see `selectmm.tuning.checkpoint.expected_meta`.
        task: which steps are taken, and after which of them what is learned is kept as well.
        checkpoint: what to continue from, or None.
        counts: the `COUNTS` until there.
        rows: rows of one pass over the subset.
        work: counts FLOPs.
        places: of the rows of each micro-batch to come in the multiset, [micro-batches, rows of one].
        log: called on rank 0 with every line of ``losses.jsonl``.
    """

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        task: Task,
        *,
        checkpoint: Path | None,
        counts: list[int],
        rows: int,
        work: Work,
        places: np.ndarray,
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self._folder, self._asked, self._checkpoint, self._log = folder, asked, checkpoint, log
        self._before, self._counts = np.asarray(counts), np.zeros(len(COUNTS), np.int64)
        self._rows, self._task, self._places = rows, task, places
        self._losses: list[torch.Tensor] = []
        self._work = work
        self._step = np.zeros(2)  # tokens and FLOPs of the step
        self._entered = 0.0
        self._since = time.perf_counter()

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Go on from the checkpoint, if there is one."""
        if trainer.world_size > 1:
            # Lightning's handler waits for a broadcast that the other ranks may never join; what is on disk is whole
            # at any moment, so a rank may as well end at once.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._check_together(trainer, pl_module)
        if self._checkpoint is not None:
            restore(pl_module, self._checkpoint)
        self._since = time.perf_counter()

    def _check_together(self, trainer: pl.Trainer, module: Tuning) -> None:
        """Each rank looks for the checkpoint itself, and a node may not see another's files yet."""
        done = torch.tensor(module.done, device=trainer.strategy.root_device)
        steps = sorted(set(cast(torch.Tensor, module.all_gather(done)).tolist()))
        if len(steps) > 1:
            raise UserError(
                f"The ranks of this training found different checkpoints in {self._folder} (of steps "
                f"{', '.join(map(str, steps))}): a node does not see all of another's files yet. Start "
                f"the same command again; if it happens each time, the folder is not one that all nodes share."
            )

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: MicroBatch, batch_idx: int) -> None:
        """The micro-batch is there."""
        self._entered = time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: MicroBatch, batch_idx: int
    ) -> None:
        """Count the micro-batch; after the last one of a step, end the step."""
        self._losses.append(outputs["answer_loss"])
        self._counts += batch.counts
        flops = self._work.of(batch.load)
        self._step += (batch.counts[COUNTS.index("tokens")], flops)
        note_busy(time.perf_counter() - self._entered, flops)
        if outputs["row_losses"] is not None:
            step = pl_module.done + batch_idx // trainer.accumulate_grad_batches + 1
            losses = [None if math.isnan(loss) else loss for loss in outputs["row_losses"].tolist()]
            entry = {"step": step, "places": self._places[batch_idx].tolist(), "losses": losses}
            _append(self._folder / f"rows-{trainer.global_rank:05d}.jsonl", entry)
        if len(self._losses) == trainer.accumulate_grad_batches:
            step = pl_module.done + (batch_idx + 1) // trainer.accumulate_grad_batches
            self._end_step(trainer, pl_module, step)

    def _end_step(self, trainer: pl.Trainer, module: Tuning, step: int) -> None:
        loss = float(trainer.strategy.reduce(torch.stack(self._losses).mean(), reduce_op="mean"))
        tokens, flops = (self._step * trainer.world_size).tolist()
        self._losses.clear()
        self._step[:] = 0
        if not math.isfinite(loss):
            raise UserError(
                f"The loss of step {step} is {loss}; lower recipe.lr or recipe.projector_lr. The last checkpoint "
                f"before it is kept in {self._folder}."
            )
        norm = _gradient_norm(trainer, module)
        if norm is not None and not math.isfinite(norm):  # it has spoilt the weights, which nothing may keep now
            raise UserError(
                f"The gradient of step {step} has a norm of {norm}; lower recipe.lr or recipe.projector_lr. The last "
                f"checkpoint before it is kept in {self._folder}."
            )
        now = time.perf_counter()
        lr = module.rate_of(step - 1)
        entry = {"step": step, "loss": loss, "lr": lr, "seconds": round(now - self._since, 4)}
        entry |= self._speed(trainer, module, entry["seconds"], tokens, flops)
        if norm is not None:
            entry["gradient_norm"] = norm
        if trainer.is_global_zero:
            _append(self._folder / LOSSES, entry)
        first_pass = min(module.steps, math.ceil(self._rows / module.recipe.batch_size))
        if step == first_pass and self._task.part is None:
            self._check_answers(trainer, module)
        if step in snapshot_steps(module.steps, self._task.snapshots)[:-1]:
            save_snapshot(module, self._folder, step, self._task.snapshots)
        if step in self._task.points:  # before the checkpoint: a run that goes on from there has it
            self._keep_point(trainer, module, step)
        if step % module.recipe.checkpoint_every == 0 and step < self._task.last:
            save_checkpoint(module, self._asked, self._folder, step, self._total(trainer))
        self._since = time.perf_counter()
        if trainer.is_global_zero:
            self._log(entry)

    def _speed(
        self, trainer: pl.Trainer, module: Tuning, seconds: float, tokens: float, flops: float
    ) -> dict[str, float]:
        """Tokens per second and the share of a known GPU's peak; other ranks' tokens are taken to be as many as this
        one's."""
        seconds = max(seconds, 1e-4)  # as it is rounded
        metrics = {"tokens_per_second": tokens / seconds}
        peak = peak_of(trainer.strategy.root_device, module.recipe.precision)
        if peak is not None:
            metrics["share_of_peak"] = flops / seconds / (peak * trainer.world_size)
        return metrics

    def _keep_point(self, trainer: pl.Trainer, module: Tuning, step: int) -> None:
        weights, point = gathered_weights(module), self._folder / POINTS / f"{step:08d}"
        if trainer.is_global_zero:
            refuse_links([point.parent, point])
            point.mkdir(parents=True, exist_ok=True)
            save_adapter(module.wrapped, weights, point)

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

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write what was learned and, last of all, the report."""
        weights, counts = gathered_weights(pl_module), self._total(trainer)
        if self._task.last < pl_module.steps:
            hand_on(pl_module, self._asked, self._folder, self._task.last, counts)
        moments = gathered_moments(pl_module) if self._task.snapshots else None
        if not trainer.is_global_zero:
            return
        if moments is not None:
            write_moments(self._folder, pl_module, moments, pl_module.steps, self._task.snapshots)
        save_adapter(pl_module.wrapped, weights, self._folder)
        report = {
            "steps": self._task.last - self._task.first,
            **dict(zip(COUNTS, counts, strict=True)),
            "trainable_parameters": sum(weight.numel() for weight in weights.values()),
            "strategy": self._asked["strategy.kind"],
            "world_size": trainer.world_size,
        }
        write_atomically(self._folder / REPORT, json.dumps(report, indent=1))
        clear(self._folder)  # after the report: killed on the way, the run has still ended
