"""The fourth stage: evaluate the tuned model."""

import logging
import shutil
from pathlib import Path
from typing import Any

from selectmm.cache.no_links import refuse_links
from selectmm.cache.stage import Stage, run_stage
from selectmm.evaluation.engine import Engine
from selectmm.evaluation.evaluate import evaluate
from selectmm.evaluation.results import identity_of, read_scores
from selectmm.evaluation.suite import Suite
from selectmm.evaluation.vllm_backend import serving
from selectmm.evaluation.workers import Job, answer_over
from selectmm.experiment import Experiment
from selectmm.export.model import merged
from selectmm.launch.devices import aside
from selectmm.launch.nodes import Nodes
from selectmm.models.vlm import VLM
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
    listed = ", ".join(f"{score.benchmark} {score.value:.1f}" for score in scores)
    log.info("  evaluate  %s %s", listed, time_of(evaluated))
    for line in not_evaluated(suite):
        log.info("            %s", line)
    return evaluated


def evaluate_adapter(experiment: Experiment, vlm: VLM, adapter: Path, name: str) -> Stage:
    """Evaluate the model with what a folder holds; ``name`` stands for it in the stage's identity."""
    suite = experiment.suite

    def make(folder: Path) -> None:
        if experiment.engine is not None:
            _evaluate_elsewhere(experiment, experiment.engine, vlm, adapter, folder)
            return
        if experiment.devices > 1:
            job = Job(experiment.config["model"], experiment.config["suite"], str(adapter), experiment.seed)
            answer_over(experiment.devices, job, vlm, suite, folder, experiment.nodes)
        with load_adapter(vlm, adapter) as adapted:
            evaluate(adapted, suite, folder, experiment.seed)

    identity = evaluation_identity(suite, name, experiment.engine)
    devices = _answering(experiment.engine, experiment.devices, experiment.nodes)
    return run_stage(experiment.cache, EVALUATION, identity, make, devices=devices)


def _answering(engine: Engine | None, devices: int, nodes: Nodes) -> int:
    """Devices that answer: of an engine, those of the first node alone."""
    return devices if engine is None else devices // nodes.count


def _evaluate_elsewhere(experiment: Experiment, engine: Engine, vlm: VLM, adapter: Path, folder: Path) -> None:
    """Evaluate with an engine, on a merged checkpoint that is written once; this process's model makes room."""
    checkpoint, place = folder / "checkpoint", folder / "engine"
    for leftover in (checkpoint, place):  # of a killed attempt
        refuse_links([leftover])
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.mkdir(mode=0o700)  # nobody else puts links there, which libraries would write through
    with merged(vlm, adapter, checkpoint):
        pass
    devices = _answering(engine, experiment.devices, experiment.nodes)
    with aside(vlm), serving(engine, vlm, checkpoint, devices, place) as backend:
        evaluate(vlm, experiment.suite, folder, experiment.seed, backend=backend)
    for done in (checkpoint, place):
        shutil.rmtree(done)


def evaluation_identity(suite: Suite, adapter: str, engine: Engine | None = None) -> dict[str, Any]:
    """The identity of the evaluation's stage. ``adapter`` is the fingerprint of the tuned stage."""
    answered = {} if engine is None else {"engine": engine.learned()}
    return {"adapter": adapter, "suite": identity_of(suite), **answered}
