"""The third stage: train on some rows, once. A method's warm-up is trained in the same way."""

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.cache.stage import Stage, run_stage
from selectmm.counted import counted
from selectmm.experiment import Experiment
from selectmm.methods.subset import Subset
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.stages.scale import too_few_steps
from selectmm.stages.summary import time_of
from selectmm.tuning.finetune import finetune
from selectmm.tuning.recipe import Recipe, Strategy

log = logging.getLogger("selectmm")

STAGE = "adapter"
TRAININGS = {"finetune": "fine-tuning", "warmup": "warm-up of the method"}  # jobs in words


def tune(experiment: Experiment, pool: Pool, vlm: VLM, subset: Subset) -> Stage:
    """Fine-tune on the subset; the folder holds the adapter."""
    recipe = experiment.recipe
    steps = recipe.steps(len(pool), len(subset.rows))
    tuned = train(experiment, pool, vlm, subset.rows, recipe, "finetune", points_of(experiment.curve, steps))
    log.info("  finetune  %s of %s %s", counted(steps, "step"), counted(recipe.batch_size, "row"), time_of(tuned))
    return tuned


def points_of(curve: int, steps: int) -> tuple[int, ...]:
    """The steps after which the model is evaluated besides at the end, ``curve`` times in all, evenly."""
    points = {round(steps * part / curve) for part in range(1, curve)}
    return tuple(sorted(points - {0, steps}))


def train(
    experiment: Experiment,
    pool: Pool,
    vlm: VLM,
    rows: np.ndarray,
    recipe: Recipe,
    job: str,
    points: tuple[int, ...] = (),
    snapshots: int = 0,
) -> Stage:
    """Fine-tune on ``rows`` of the pool; the folder holds the adapter. Training knows nothing of methods.

    Args:
        job: what the tracker calls it, ``finetune`` or ``warmup``.
        snapshots: how many points of the training are kept with Adam's moments, see `selectmm.tuning.snapshots`.
        points: steps after which what is learned by then is kept too.
    """
    steps = recipe.steps(len(pool), len(rows))
    if warning := too_few_steps(recipe, steps, TRAININGS[job]):
        log.warning("  %s", warning)
    subset, device = Subset(rows).fingerprint, vlm.model.device.type
    identity = identity_of(
        experiment.strategy, experiment.seed, pool, subset, vlm.identity, device, recipe, steps, snapshots
    )
    if points:
        identity["points"] = list(points)
    with experiment.tracker.stage(job, experiment.config) as tracked:

        def make(folder: Path) -> None:
            finetune(
                vlm, pool, rows, recipe, experiment.strategy, experiment.seed, folder, tracked.log,
                build=experiment.config["model"], points=points, nodes=experiment.nodes, snapshots=snapshots,
            )  # fmt: skip

        tuned = run_stage(experiment.cache, STAGE, identity, make, devices=experiment.strategy.devices)
        if tuned.cached:  # the curve belongs to the run, also if the training came from the cache
            for line in (tuned.folder / "losses.jsonl").read_text().splitlines():
                tracked.log(json.loads(line))
        tracked.summary({"steps": steps, **asdict(tuned.cost), "cached": tuned.cached})
        if recipe.tune == "lora":  # whole models are gigabytes and stay in the cache
            parent = f"subset-{subset}" if job == "finetune" else f"pool-{pool.fingerprint}"
            weights = tuned.folder / "adapter_model.safetensors"
            tracked.artifact(weights, f"adapter-{tuned.fingerprint}", "adapter", made_from=[parent])
    return tuned


def identity_of(
    strategy: Strategy,
    seed: int,
    pool: Pool,
    subset: str,
    model: str,
    device: str,
    recipe: Recipe,
    steps: int,
    snapshots: int = 0,
) -> dict[str, Any]:
    """The identity of an adapter's stage: what the trained weights follow from.

    Args:
        subset: the fingerprint of the rows. model: a `VLM`'s identity. device: the type of its device.
    """
    return {
        "pool": pool.fingerprint,
        "subset": subset,
        "model": model,
        "recipe": recipe.learned(),
        "steps": steps,
        "strategy": strategy.learned(),
        "device": device,
        "seed": seed,
        "version": 1,
        **({"snapshots": snapshots} if snapshots else {}),
    }
