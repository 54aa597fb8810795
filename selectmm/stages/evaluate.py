"""The fourth stage: evaluate the tuned model."""

import logging
from pathlib import Path

from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.results import identity_of, read_scores
from selectmm.evaluation.suite import Suite
from selectmm.evaluation.workers import Job, hired
from selectmm.experiment import Experiment
from selectmm.models.vlm import VLM
from selectmm.records.stage import Stage, run_stage
from selectmm.stages.record import not_evaluated
from selectmm.stages.summary import cost_of, time_of
from selectmm.tuning.adapter import load_adapter

log = logging.getLogger("selectmm")

EVALUATION = "evaluation"  # the stage's name


def evaluate_tuned(experiment: Experiment, vlm: VLM, tuned: Stage) -> Stage:
    """Evaluate the tuned model on the suite; the folder holds scores and per-item answers."""
    suite = experiment.suite
    with experiment.tracker.stage("evaluate", experiment.config) as tracked:
        evaluated = evaluate_adapter(experiment, vlm, tuned.folder, tuned.fingerprint)
        scores = read_scores(evaluated.folder, suite)
        tracked.summary({**{score.benchmark: score.value for score in scores}, **cost_of(evaluated)})
    told = ", ".join(f"{score.benchmark.removeprefix('mini-')} {score.value:.1f}" for score in scores)
    log.info("  evaluate  %s %s", told, time_of(evaluated))
    for line in not_evaluated(suite):
        log.info("            %s", line)
    return evaluated


def evaluate_adapter(experiment: Experiment, vlm: VLM, adapter: Path, name: str) -> Stage:
    """Evaluate the model with what a folder holds; ``name`` stands for it in the stage's identity."""
    suite = experiment.suite

    def make(folder: Path) -> None:
        job = Job(experiment.config["model"], experiment.config["suite"], str(adapter), experiment.seed)
        with (
            load_adapter(vlm, adapter) as adapted,
            hired(job, experiment.devices, folder, vlm.model.device) as team,
        ):
            evaluate(adapted, suite, folder, experiment.seed, team=team)

    identity = evaluation_identity(suite, name)
    return run_stage(experiment.cache, EVALUATION, identity, make, devices=experiment.devices)


def evaluation_identity(suite: Suite, adapter: str) -> dict[str, object]:
    """Of the evaluation's stage: what the scores follow from. ``adapter`` is the fingerprint of the tuned stage."""
    return {"adapter": adapter, "suite": identity_of(suite)}
