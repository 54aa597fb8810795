"""Fine-tune a model on chosen rows: in this process, or spread over workers."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.errors import UserError
from selectmm.launch.devices import aside
from selectmm.launch.launch import rank_environment
from selectmm.launch.nodes import ALONE, Nodes
from selectmm.models.pack import check_packable
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.root import spelled
from selectmm.tuning.callback import REPORT
from selectmm.tuning.checkpoint import clear
from selectmm.tuning.fit import fit
from selectmm.tuning.job import Job, Task
from selectmm.tuning.progress import step_bar
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.spawn import spawn, tidy
from selectmm.tuning.strategy import check_buildable
from selectmm.tuning.targets import lora_pattern

screen = logging.getLogger("selectmm")  # `log` is a run's tracker here


def finetune(
    vlm: VLM,
    pool: Pool,
    rows: np.ndarray,
    recipe: Recipe,
    strategy: Strategy,
    seed: int,
    folder: Path,
    log: Callable[[dict[str, float]], None],
    build: Mapping[str, Any] | None = None,
    points: tuple[int, ...] = (),
    nodes: Nodes = ALONE,
    snapshots: int = 0,
) -> None:
    """Train what the recipe says, and write the result into ``folder``.

    Written are peft's ``adapter_model.safetensors`` and ``adapter_config.json`` (of a model that is trained in full
    ``trained.safetensors`` instead), ``losses.jsonl`` (see `selectmm.tuning.callback`) and ``train.json``. The model
    comes back as it was. A run that was killed goes on from its last checkpoint when it is started again with the same
    arguments, and ends with the same weights.

    Args:
        rows: positions in the pool, [n]; a multiset.
        folder: exists; empty, or what a killed run left there.
        log: called with every line of ``losses.jsonl`` as it is written.
        build: the model's config (``_target_`` and arguments), from which worker processes load it again; only
            strategies other than ``single`` need it.
        points: steps after which what is learned by then is written too, into ``points/<step>``.
        nodes: that the strategy's devices are on, as many on each.
        snapshots: how many points of the training are kept, see `selectmm.tuning.snapshots`; LoRA alone.

    Raises:
        UserError: see `check_tunable`; there are no rows; an image does not fit into ``max_length``; no row has an
            answer left after cutting; the loss is not finite; memory ran out; a worker failed.
    """
    steps = recipe.steps(len(pool), len(rows))
    task = Task(recipe, strategy, steps, seed, points=points, snapshots=snapshots)
    train_task(vlm, pool, rows, task, folder, log, build, nodes)


def train_task(
    vlm: VLM,
    pool: Pool,
    rows: np.ndarray,
    task: Task,
    folder: Path,
    log: Callable[[dict[str, float]], None],
    build: Mapping[str, Any] | None,
    nodes: Nodes = ALONE,
) -> None:
    """Train as `finetune` does, all of a run's steps or some of them.

    A part of a run that is not its last also leaves the state that the next part begins with (`HANDED_ON`).
    """
    recipe, strategy = task.recipe, task.strategy
    check_tunable(vlm, recipe, strategy)
    if len(rows) == 0:
        raise UserError("There are no rows to train on; the subset is empty.")
    if (folder / REPORT).exists():  # a run killed after this has nothing left to do but to tidy up
        clear(folder)
        tidy(folder)
        return
    if (at_once := recipe.rows_at_once(strategy.devices)) < recipe.micro_batch:
        shared = recipe.micro_batch // at_once
        screen.info("  devices   %d share a micro-batch of %d rows, %d each", shared, recipe.micro_batch, at_once)
    with step_bar(task.steps) as show:

        def report(entry: dict[str, float]) -> None:
            show(entry)
            log(entry)

        if strategy.kind == "single":
            fit(vlm, pool, rows, task, folder, report)
        elif build is None:
            raise ValueError(f"strategy '{strategy.kind}' needs build, the model's config")
        else:
            job = Job(task, build, spelled(pool.image_root), pool.frames_spelled)
            with aside(vlm) as device:
                spawn(job, pool, rows, device, folder, report, nodes)


def check_tunable(vlm: VLM, recipe: Recipe, strategy: Strategy) -> None:
    """What can be known before anything is computed.

    Raises:
        UserError: recipe, strategy, model and machine do not fit together.
    """
    check_numbers(recipe, strategy)
    if recipe.precision == "bf16-true" and str(vlm.model.dtype) != "torch.bfloat16":
        raise UserError(f"recipe.precision=bf16-true needs a bfloat16 model, not {vlm.model.dtype}; set model.dtype.")
    if recipe.packing:
        check_packable(vlm)
    if recipe.tune == "lora":
        lora_pattern(vlm, recipe)
    if getattr(vlm.model, "is_quantized", False) and (recipe.tune == "full" or strategy.kind == "zero3"):
        raise UserError(
            "A 4-bit model trains with recipe.tune=lora and under every strategy but zero3, which cannot spread its "
            "weights; set compute=plain for others."
        )
    check_buildable(strategy, vlm.model.device, rank_environment(vlm.model.device, strategy.devices))


def check_numbers(recipe: Recipe, strategy: Strategy) -> None:
    """What can be known before the model is there.

    Raises:
        UserError: numbers of the recipe do not fit together, or not on so many devices.
    """
    if recipe.batch_size % recipe.micro_batch:
        raise UserError(
            f"recipe.batch_size={recipe.batch_size} is not a multiple of recipe.micro_batch={recipe.micro_batch}; "
            f"change one of them."
        )
    if recipe.batch_size % strategy.devices:
        most = max(number for number in range(1, strategy.devices) if recipe.batch_size % number == 0)
        raise UserError(
            f"{strategy.devices} devices cannot share recipe.batch_size={recipe.batch_size} equally; take {most} or "
            f"another number of devices that divides it, or change it."
        )
    if recipe.precision not in ("32-true", "bf16-mixed", "bf16-true"):
        raise UserError(
            f"recipe.precision={recipe.precision} is not one of 32-true, bf16-mixed, bf16-true; set one of them."
        )
    if recipe.checkpoint_every < 1:
        raise UserError(
            f"recipe.checkpoint_every={recipe.checkpoint_every} is not a number of steps; set it to 1 or more."
        )
