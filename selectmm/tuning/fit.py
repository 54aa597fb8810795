"""Train in this process: one rank of any strategy."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl
import torch
from peft import PeftModel
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.utils.data import DataLoader

from selectmm.errors import sentences_of_loaders
from selectmm.models.pack import varlen
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.tuning.adapter import trainable
from selectmm.tuning.callback import TrainingCallback, keep_losses, keep_row_losses
from selectmm.tuning.checkpoint import expected_meta, handed_on, latest, read_meta
from selectmm.tuning.data import BLANK, COUNTS, MicroBatches
from selectmm.tuning.full import FullModel
from selectmm.tuning.job import Task
from selectmm.tuning.memory import memory_explained
from selectmm.tuning.module import Tuning
from selectmm.tuning.plan import planned, share_of
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.strategy import lightning_strategy
from selectmm.tuning.work import Work

LOADERS_PER_GPU = 4  # on a CPU the encoding stays in the process: there is no idle core to give it to


def fit(
    vlm: VLM,
    pool: Pool,
    rows: np.ndarray,
    task: Task,
    folder: Path,
    log: Callable[[dict[str, float]], None],
    rank: int = 0,
    nodes: int = 1,
) -> None:
    """Train as rank ``rank`` of the strategy's devices, as many on each of ``nodes``.

    It goes on from a checkpoint in ``folder``, if there is one.
    See `selectmm.tuning.finetune.finetune` for what is written and raised.
    """
    recipe, strategy, steps, seed = task.recipe, task.strategy, task.steps, task.seed
    checkpoint, asked = latest(folder), expected_meta(task, pool, rows)
    done, counts = read_meta(checkpoint, asked) if checkpoint else (task.first, [0] * len(COUNTS))
    weights = task.part.weights if task.part else None
    if checkpoint is None:
        checkpoint = handed_on(task)
    if rank == 0:
        keep_losses(folder, done - task.first)
    if weights is not None:
        keep_row_losses(folder, done, rank, strategy.devices)
    at_once = recipe.rows_at_once(strategy.devices)
    places = share_of(planned(pool, rows, task)[done - task.first :], at_once, rank, strategy.devices)
    # Where only the language model trains and nothing is gathered, text-only rows need no blank image beside them.
    blank = recipe.images_teach or strategy.kind == "zero3"
    weighted = None if weights is None else np.array(weights)[places]
    data = MicroBatches(vlm, pool, rows[places], recipe.max_length, blank, recipe.packing, weighted)
    pa.default_memory_pool().release_unused()  # Arrow would keep what looking through all rows took
    loaders = 0 if vlm.model.device.type == "cpu" else LOADERS_PER_GPU
    gpus = [vlm.model.device] if vlm.model.device.type == "cuda" else []  # a rank has no business with the others
    with torch.random.fork_rng(gpus), _quiet(), _interruptible():
        torch.manual_seed(seed)  # peft draws the LoRA weights from the global state
        work = Work(vlm, recipe, BLANK)
        alone = strategy.kind == "single"  # a worker ends after training, and needs no weights to be put back
        kernel = varlen(vlm.model, recipe.precision) if recipe.packing else nullcontext()
        with kernel, trainable(vlm, recipe, keep=alone) as wrapped, _checkpointing(wrapped, recipe):
            _ready(wrapped, recipe, sharded=strategy.kind in ("zero2", "zero3"))
            offload = strategy.offload and vlm.model.device.type != "cpu"
            module = Tuning(wrapped, recipe, vlm.family, steps=steps, done=done, seed=seed, offload=offload)
            callback = TrainingCallback(
                folder,
                asked,
                task,
                checkpoint=checkpoint,
                counts=counts,
                rows=len(rows),
                places=places,
                work=work,
                log=log,
            )
            trainer = _trainer(vlm.model.device, recipe, strategy, callback, nodes)
            with memory_explained(module), sentences_of_loaders():
                trainer.fit(module, DataLoader(data, batch_size=None, num_workers=loaders))


def _ready(wrapped: PeftModel | FullModel, recipe: Recipe, sharded: bool = False) -> None:
    """Dtypes and training mode; `injected` takes them back.

    Args:
        sharded: whether DeepSpeed trains. It rounds all weights to bfloat16 and makes float32 copies of its own, shared
            out; before that, whole ones would fill each GPU for nothing.
    """
    wrapped.train()
    if recipe.precision == "32-true":
        wrapped.float()  # exact, and so is the way back to bfloat16
        return
    dtype = torch.float32 if recipe.precision == "bf16-mixed" and not sharded else torch.bfloat16
    for weight in wrapped.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(dtype)


def lightning_precision(recipe: Recipe, strategy: Strategy) -> str:
    """The precision as Lightning names it.

    Its own ``bf16-true`` rounds buffers as well, rotary frequencies among them, which models keep in float32. `_ready`
    has put the weights into bfloat16 already, so that nothing is left to convert; DeepSpeed still has to know.
    """
    if recipe.precision != "bf16-true":
        return recipe.precision
    return "bf16-mixed" if strategy.kind in ("zero2", "zero3") else "32-true"


@contextmanager
def _checkpointing(wrapped: PeftModel | FullModel, recipe: Recipe) -> Iterator[None]:
    """Gradient checkpointing for the length of the block, if the recipe has it."""
    if not recipe.gradient_checkpointing:
        yield
        return
    model: Any = wrapped.get_base_model()
    model.activation_checkpointing_enable({"use_reentrant": False})
    model.disable_input_require_grads()  # only reentrant checkpointing needs inputs with gradients
    try:
        yield
    finally:
        model.activation_checkpointing_disable()


def _trainer(
    device: torch.device, recipe: Recipe, strategy: Strategy, callback: TrainingCallback, nodes: int
) -> pl.Trainer:
    alone: list[Any] | None = (
        [LightningEnvironment()] if strategy.kind == "single" else None
    )  # or Slurm's tasks would count as ranks
    at_once = recipe.rows_at_once(strategy.devices)
    return pl.Trainer(
        accelerator="cpu" if device.type == "cpu" else "gpu",
        devices=strategy.devices // nodes,
        num_nodes=nodes,
        plugins=alone,
        strategy=lightning_strategy(strategy, at_once, device),
        precision=cast(Any, lightning_precision(recipe, strategy)),
        max_epochs=1,  # the plan is one long epoch
        accumulate_grad_batches=recipe.batch_size // (at_once * strategy.devices),
        gradient_clip_val=recipe.clip or None,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C stays Ctrl-C: Lightning turns it into ``SystemExit`` and leaves the process deaf to the next one."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            signal.signal(signal.SIGINT, handler)
            raise KeyboardInterrupt from None
        raise


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notes on hardware and loader processes tell a user of ours nothing."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
