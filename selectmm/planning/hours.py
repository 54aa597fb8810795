"""Turn hours on a GPU into rows: the largest subset whose tuning is estimated to take no longer."""

from dataclasses import replace

import numpy as np

from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.gpus import Gpu
from selectmm.planning.corrections import Corrections
from selectmm.planning.load import Loads
from selectmm.planning.stages import Planned
from selectmm.planning.work import Device
from selectmm.pool.pool import Pool


def rows_within(
    experiment: Experiment,
    pool: Pool,
    hours: float,
    gpu: Gpu,
    utilisation: float,
    sample: int,
    corrections: Corrections,
) -> tuple[int, float]:
    """Rows that can be tuned on, and the hours of one ``gpu`` that this is estimated to take.

    Which rows will be chosen is not known, so a row counts as much as the pool's mean row.

    Args:
        experiment: its model, recipe and strategy count; its budget does not.
        hours: device-hours: with eight GPUs, eight for each hour of waiting.
        utilisation: share of the GPU's peak that is reached. sample: rows that are encoded to count tokens.
        corrections: what was measured there of this setting; it counts instead of ``utilisation``, as in a plan.

    Raises:
        UserError: not even one optimiser step fits, or the recipe's number of steps does not depend on the rows.
    """
    recipe = experiment.recipe
    if recipe.length != "epochs":
        raise UserError(
            f"Recipe {recipe.name} takes as many steps for every subset (recipe.length={recipe.length}), so a "
            f"budget in hours means nothing for it; give the budget as a share or in rows."
        )
    here = experiment.open_shapes(experiment.device)
    there = experiment.open_shapes("cpu" if gpu.name == "cpu" else "cuda")
    device = Device(here, anatomy_of(here), there.model.dtype.itemsize)
    load = Loads(sample).of(here, pool, "conversation", np.arange(len(pool)), recipe.max_length)

    def needed(rows: int) -> float:
        """Device-hours that training on a subset of so many rows takes."""
        seen = recipe.steps(len(pool), rows) * recipe.batch_size
        work = device.train(load.as_many_as(seen), recipe, experiment.strategy)
        stage = Planned("finetune", "", (), "to do", seen, work)
        return replace(stage, measured=corrections.factor(stage)).seconds(gpu, utilisation) / 3600

    if needed(1) > hours:
        raise UserError(
            f"One optimiser step takes an estimated {duration(needed(1))} on {gpu.name}, more than {duration(hours)}; "
            f"give more hours."
        )
    least, most = 1, len(pool)
    while least < most:  # the estimate never falls with the number of rows
        middle = (least + most + 1) // 2
        least, most = (middle, most) if needed(middle) <= hours else (least, middle - 1)
    return least, needed(least)


def duration(hours: float) -> str:
    """Hours in words, three figures: seconds below a minute, minutes below an hour."""
    if hours < 1 / 60:
        return f"{3600 * hours:.3g} seconds"
    return f"{60 * hours:.3g} minutes" if hours < 1 else f"{hours:.3g} hours"
