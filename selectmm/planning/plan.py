"""Plan a run or a sweep: every job's stages, those that jobs share once."""

from collections.abc import Sequence

from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.models.check_rows import fitting
from selectmm.planning.anatomy import anatomy_of
from selectmm.planning.gpus import Gpu
from selectmm.planning.items import items_of
from selectmm.planning.job import Job, Model
from selectmm.planning.load import Loads
from selectmm.planning.stages import Plan
from selectmm.planning.work import Device


def plan(experiments: Sequence[Experiment], gpu: Gpu, sample: int) -> list[Plan]:
    """One plan per experiment, in order.

    The model is not loaded, and nothing is made that a run would have to make. Pool, targets and benchmarks are opened
    as a run opens them, which reads or builds them the first time.

    Args:
        sample: the most rows of a pool that are encoded to count tokens.

    Raises:
        UserError: a pool or targets cannot be opened, or do not fit the method; the weights would be in 4 bits.
    """
    loads, planned, plans = Loads(sample), set(), []
    for experiment in experiments:
        notes: list[str] = []
        if experiment.config["compute"]["weights"] != "as_is":
            raise UserError("Memory and time of 4-bit weights cannot be estimated; use compute=plain for the plan.")
        pool = experiment.open_pool()  # before the model: what is wrong with it is known at once
        model = _model(experiment, gpu, notes)
        if model is not None:
            pool = fitting(pool, model.vlm, experiment.recipe.max_length, experiment.bad_rows, experiment.cache)
        stages = Job(experiment, pool, model, loads, planned).stages()
        unknown = [task for task, count in items_of(experiment.suite).items() if count is None]
        if unknown:
            notes.append(
                f"How many items {', '.join(unknown)} have is not known without their data, so evaluation is not "
                f"counted."
            )
        told = experiment.chooser, experiment.budget, experiment.recipe.name, experiment.seed
        plans.append(Plan("{}: {}, budget {:g}, recipe {}, seed {}".format(experiment.name, *told), stages, notes))
    return plans


def _model(experiment: Experiment, gpu: Gpu, notes: list[str]) -> Model | None:
    """The model as shapes; None, and a note, if its configuration or its processor is not there."""
    try:
        here = experiment.open_shapes(experiment.device)
        there = experiment.open_shapes("cpu" if gpu.name == "cpu" else "cuda")
    except UserError as problem:
        notes.append(f"Without the model there are no tokens, FLOPs and memory. {problem}")
        return None
    return Model(here, Device(here, anatomy_of(here), there.model.dtype.itemsize))
