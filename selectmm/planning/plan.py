"""Plan a run or a sweep: every job's stages, those that jobs share once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from selectmm.cache.progress import track
from selectmm.errors import UserError
from selectmm.evaluation.engine import Engine
from selectmm.evaluation.suite import Suite
from selectmm.evaluation.vllm_backend import check_served
from selectmm.experiment import Experiment
from selectmm.features.feature import Feature
from selectmm.flops.anatomy import anatomy_of
from selectmm.flops.gpus import Gpu
from selectmm.models.check_rows import fitting
from selectmm.models.vlm import VLM
from selectmm.planning import serving
from selectmm.planning.corrections import Corrections
from selectmm.planning.items import items_of, local_items
from selectmm.planning.job import Job, Model
from selectmm.planning.known import benchmarks
from selectmm.planning.known.models import shapes_of
from selectmm.planning.known.pools import rows_of, stand_in
from selectmm.planning.known.tokenizer import ASSUMED
from selectmm.planning.load import Loads
from selectmm.planning.stages import Plan
from selectmm.planning.work import Device
from selectmm.pool.pool import Pool
from selectmm.stages.sweep import place_of, union_of
from selectmm.tuning.finetune import check_numbers

NOT_LOOKED = "Without the model's tokenizer, rows that it cannot take are not looked for."


def plan(experiments: Sequence[Experiment], gpu: Gpu, sample: int) -> list[Plan]:
    """One plan per experiment, in order.

    The model is not loaded, and nothing is made that a run would have to make. Pool, targets and benchmarks are opened
    as a run opens them, which reads or builds them the first time. Of what is not on this machine, published sizes and
    counts are taken (`selectmm.planning.known`). A job of a sweep that cannot run has a plan without stages that says
    so.

    Args:
        sample: the most rows of a pool that are encoded to count tokens.

    Raises:
        UserError: a pool or targets cannot be opened, or do not fit the method; the weights would be in 4 bits. Of a
            sweep: in every job.
    """
    loads = Loads(sample)
    planned: set[str] = set()
    union = union_of(experiments)
    plans: list[Plan] = []
    problems: list[UserError] = []
    for experiment in track(experiments, "plan", len(experiments)) if len(experiments) > 1 else experiments:
        try:
            plans.append(_planned(experiment, gpu, loads, planned, union.get(place_of(experiment), [])))
        except UserError as problem:
            problems.append(problem)
            plans.append(Plan(experiment.announced, [], [f"{experiment.announced} cannot run: {problem}"]))
    if len(problems) == len(experiments):
        raise problems[0]
    return plans


def _planned(experiment: Experiment, gpu: Gpu, loads: Loads, planned: set[str], others: Sequence[Feature]) -> Plan:
    notes: list[str] = []
    sources: list[str] = []
    check_numbers(experiment.recipe, experiment.strategy)
    if experiment.config["compute"]["weights"] != "as_is":
        raise UserError("Memory and time of 4-bit weights cannot be estimated; use compute=plain for the plan.")
    pool = _pool(
        experiment.open_pool, experiment.config["pool"], loads, sources
    )  # before the model: what is wrong with it is known at once
    model = _model(experiment, gpu, notes, sources)
    if model is not None and model.published:
        if pool.fingerprint not in loads.known:
            sources.append(f"Lengths of rows: images by the processor. Assumed: {ASSUMED}. {NOT_LOOKED}")
    elif model is not None and pool.fingerprint not in loads.known:
        pool = fitting(pool, model.vlm, experiment.recipe.max_length, experiment.bad_rows, experiment.cache)
    stages = Job(experiment, pool, model, loads, planned, others).stages()
    _note_items(experiment.suite, notes, sources)
    if experiment.engine is not None and model is not None and model.room is not None:
        sources.append(f"Assumed of {serving.ASSUMED}.")
    corrections = Corrections()
    if model is not None:
        corrections = Corrections.of(experiment.cache, experiment.config, experiment.recipe, model.vlm, gpu)
    if corrections.source:
        sources.append(corrections.source)
    corrected = [replace(stage, measured=corrections.factor(stage)) for stage in stages]
    return Plan(experiment.announced, corrected, notes, sources)


def _pool(opened: Callable[[], Pool], group: Mapping[str, Any], loads: Loads, sources: list[str]) -> Pool:
    """The pool or, if its file is not there and it is a published one, a pool that has as many rows."""
    rows = rows_of(group)
    if rows is None:
        pool = opened()
        sources.append(f"Pool: rows read here, tokens of at most {loads.sample} of them counted.")
        return pool
    pool = stand_in(rows)
    loads.known[pool.fingerprint] = rows
    sources.append(f"Pool {rows.name}: {group['file']} is not here; rows: {rows.source}. Assumed: {rows.assumed}.")
    return pool


def _model(experiment: Experiment, gpu: Gpu, notes: list[str], sources: list[str]) -> Model | None:
    """The model as shapes, from its files or as published; None, and a note, if neither is there."""
    there = "cpu" if gpu.name == "cpu" else "cuda"
    try:
        here = experiment.open_shapes(experiment.device)
        size = experiment.open_shapes(there).model.dtype.itemsize
        sources.append("Model: shapes and processor read from its configuration here.")
        published = False
    except UserError as problem:
        known = shapes_of(experiment.config["model"], experiment.device)
        if known is None:
            notes.append(f"Without the model there are no tokens, FLOPs and memory. {problem}")
            return None
        here, source = known
        published = True
        size = shapes_of(experiment.config["model"], there)[0].model.dtype.itemsize
        sources.append(f"Model: none of its files are here; shapes and processor as in {source}, not compared with it.")
    return Model(here, Device(here, anatomy_of(here), size), _room(experiment.engine, here, gpu, notes), published)


def _room(engine: Engine | None, vlm: VLM, gpu: Gpu, notes: list[str]) -> float | None:
    """Bytes of the GPU, if vLLM can serve the model there; else None, and a note if it is to."""
    if gpu.name == "cpu":
        problem = "vLLM's speed on a processor is not known, so evaluation is planned as by our own decoding."
    else:
        try:
            check_served(vlm)
            return gpu.memory
        except UserError as found:
            problem = str(found)
    if engine is not None:
        notes.append(problem)
    return None


def _note_items(suite: Suite, notes: list[str], sources: list[str]) -> None:
    counts, local = items_of(suite), local_items(suite)
    unknown = [task for task, count in counts.items() if count is None]
    if unknown:
        notes.append(
            f"How many items {', '.join(unknown)} have is not known without their data, so evaluation is not counted."
        )
    published = [task for task in counts if task in benchmarks.TASKS and task not in local]
    if published:
        sources.append(f"Benchmarks: published numbers of items, not compared. Assumed: {benchmarks.ASSUMED}.")
    if local:
        sources.append("Benchmarks: items counted in the suite's folder, taken as long as the pool's rows.")
