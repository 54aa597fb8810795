"""The page: one experiment from the pool to its record, in five verbs."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

from selectmm.contamination.check import Contamination, check
from selectmm.contamination.page import sentence
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.local import check_local
from selectmm.evaluation.results import identity_of, read_scores
from selectmm.evaluation.suite import Suite
from selectmm.evaluation.workers import Job, hired
from selectmm.experiment import Experiment
from selectmm.methods.subset import Subset, coverage_lines
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.recording import not_evaluated, record_of
from selectmm.records.answers import keep_answers
from selectmm.records.record import RunRecord, save
from selectmm.records.stage import Stage, run_stage
from selectmm.selection import Selection, check_selectable, select
from selectmm.stages.launch import check_devices
from selectmm.training import train
from selectmm.tuning.adapter import load_adapter
from selectmm.tuning.finetune import check_tunable

log = logging.getLogger("selectmm")

EVALUATION = "evaluation"  # the stage's name


def run(experiment: Experiment) -> Path:
    """Take the pool, select, fine-tune, evaluate, record; what was done before comes from the cache.

    Returns:
        The record's file.
    """
    told = experiment.name, experiment.method_name, experiment.budget, experiment.recipe.name, experiment.seed
    log.info("\n%s: %s, budget %g, recipe %s, seed %d", *told)
    suite = experiment.suite
    if suite.data is not None:  # hours of tuning come before it is read
        check_local(suite.benchmarks, suite.tasks, suite.data)
    vlm = experiment.open_model()  # before the pool, whose images may take an hour to look at
    check_tunable(vlm, experiment.recipe, experiment.strategy)  # now, because selecting may take long
    check_devices(experiment.devices, vlm.model.device)
    pool = take_pool(experiment)
    check_selectable(experiment, pool, vlm)
    checked = look_for_items(experiment, pool)
    selection = select_rows(experiment, pool, vlm)
    tuned = tune(experiment, pool, vlm, selection.subset)
    evaluated = evaluate_tuned(experiment, vlm, tuned)
    record = record_of(experiment, pool, vlm, checked, selection, tuned, evaluated)
    return keep(experiment, record, tuned, evaluated)


def take_pool(experiment: Experiment) -> Pool:
    """Open the pool, its images looked at and its bad rows dealt with."""
    with experiment.tracker.stage("pool", experiment.config) as tracked:
        pool = experiment.open_pool()
        without = int((pool.image_of < 0).sum())
        tracked.summary({"rows": len(pool), "text_only": without, "unique_images": len(pool.images)})
        tracked.artifact(None, f"pool-{pool.fingerprint}", "pool")
    log.info(
        "  pool      %s rows of %d sources, %s images, %s rows without",
        f"{len(pool):,}", len(pool.counts()), f"{len(pool.images):,}", f"{without:,}",
    )  # fmt: skip
    if pool.health and pool.health.bad:
        log.info("            %s bad rows were dropped, as pool.bad_rows says", f"{len(pool.health.bad):,}")
    return pool


def look_for_items(experiment: Experiment, pool: Pool) -> Contamination | None:
    """Count the suite's items that occur in the pool, before anything is trained; None if that was not asked for."""
    if not experiment.contamination:
        log.info("  check     whether the pool holds the suite's items: not checked (contamination=false)")
        return None
    checked, stages = check(pool, experiment.suite, experiment.cache)
    log.info("  check     %s %s", sentence(checked), _told(*stages))
    if checked.total.same or checked.total.near:
        log.info("            they are listed in %s", checked.listing)
    return checked


def select_rows(experiment: Experiment, pool: Pool, vlm: VLM) -> Selection:
    """Compute what the method needs (`selectmm.selection.select`), then choose rows."""
    with experiment.tracker.stage("select", experiment.config) as tracked:
        selection = select(experiment, pool, vlm)
        chosen, subset = selection.chosen, selection.subset
        tracked.summary({"kept": len(subset.rows), **_cost(chosen), "coverage": subset.coverage(pool)})
        parents, name = [f"pool-{pool.fingerprint}"], f"subset-{subset.fingerprint}"
        tracked.artifact(chosen.folder / "subset.json", name, "subset", made_from=parents)
    log.info("  select    %s of %s rows %s", f"{len(subset.rows):,}", f"{len(pool):,}", _told(*selection.stages))
    for line in coverage_lines(subset, pool):
        log.info("            %s", line)
    return selection


def tune(experiment: Experiment, pool: Pool, vlm: VLM, subset: Subset) -> Stage:
    """Fine-tune on the subset; the folder holds the adapter."""
    recipe = experiment.recipe
    tuned = train(experiment, pool, vlm, subset.rows, recipe, "finetune")
    steps = recipe.steps(len(pool), len(subset.rows))
    log.info("  finetune  %s steps of %d rows %s", f"{steps:,}", recipe.batch_size, _told(tuned))
    return tuned


def evaluate_tuned(experiment: Experiment, vlm: VLM, tuned: Stage) -> Stage:
    """Evaluate the tuned model on the suite; the folder holds scores and per-item answers."""
    suite = experiment.suite
    identity = evaluation_identity(suite, tuned.fingerprint)
    with experiment.tracker.stage("evaluate", experiment.config) as tracked:

        def make(folder: Path) -> None:
            job = Job(experiment.config["model"], experiment.config["suite"], str(tuned.folder), experiment.seed)
            with (
                load_adapter(vlm, tuned.folder) as adapted,
                hired(job, experiment.devices, folder, vlm.model.device) as team,
            ):
                evaluate(adapted, suite, folder, experiment.seed, team=team)

        evaluated = run_stage(experiment.cache, EVALUATION, identity, make, devices=experiment.devices)
        scores = read_scores(evaluated.folder, suite)
        tracked.summary({**{score.benchmark: score.value for score in scores}, **_cost(evaluated)})
    told = ", ".join(f"{score.benchmark.removeprefix('mini-')} {score.value:.1f}" for score in scores)
    log.info("  evaluate  %s %s", told, _told(evaluated))
    for line in not_evaluated(suite):
        log.info("            %s", line)
    return evaluated


def evaluation_identity(suite: Suite, adapter: str) -> dict[str, object]:
    """Of the evaluation's stage: what the scores follow from. ``adapter`` is the fingerprint of the tuned stage."""
    return {"adapter": adapter, "suite": identity_of(suite)}


def keep(experiment: Experiment, record: RunRecord, tuned: Stage, evaluated: Stage) -> Path:
    """Write the record, and the per-item answers behind its scores beside it."""
    kept = keep_answers(evaluated.folder, record.scores, experiment.records, record.name)
    path = save(replace(record, answers=kept), experiment.records)
    with experiment.tracker.stage("record", experiment.config) as tracked:
        whole = experiment.recipe.tune != "lora"  # whose weights stay in the cache
        parent = f"subset-{record.subset.fingerprint}" if whole else f"adapter-{tuned.fingerprint}"
        tracked.artifact(path, f"record-{record.name}", "record", made_from=[parent])
    log.info("  record    %s", path)
    return path


def _cost(stage: Stage) -> dict[str, object]:
    return {**asdict(stage.cost), "cached": stage.cached}


def _told(*stages: Stage) -> str:
    seconds = sum(stage.cost.seconds for stage in stages)
    cached = all(stage.cached for stage in stages)
    return f"({seconds:.1f} s{', from the cache' if cached else ''})"
