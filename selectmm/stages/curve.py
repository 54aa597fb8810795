"""Scores on the way: the model after some of its steps, each evaluated as the final one is."""

import json
import logging

from selectmm.cache.stage import Stage
from selectmm.evaluation.results import read_scores
from selectmm.experiment import Experiment
from selectmm.models.vlm import VLM
from selectmm.records.schedule import PointEntry
from selectmm.stages.evaluate import evaluate_adapter
from selectmm.stages.schedule import Learned
from selectmm.tuning.callback import LOSSES, POINTS

log = logging.getLogger("selectmm")


def evaluate_points(experiment: Experiment, vlm: VLM, learned: Learned, end: Stage) -> tuple[PointEntry, ...]:
    """Evaluate what the training kept on the way (`selectmm.stages.finetune.points_of`), if it was asked to.

    The tracker gets a curve of every benchmark's scores over the steps, whose last point is that of ``end``, the
    evaluation of the tuned model. Evaluation is not counted as cost. What was spent by a step: of a static run its
    whole selection; of a schedule the scoring of the rounds that had begun by then.
    """
    if experiment.curve == 1:
        return ()
    seconds = [json.loads(line) for line in (learned.tuned.folder / LOSSES).read_text().splitlines()]
    points = []
    for folder in sorted((learned.tuned.folder / POINTS).glob("*")):
        step = int(folder.name)
        evaluated = evaluate_adapter(experiment, vlm, folder, f"{learned.tuned.fingerprint}@{step}")
        scores = {score.benchmark: score.value for score in read_scores(evaluated.folder, experiment.suite)}
        taken = sum(entry["seconds"] for entry in seconds if entry["step"] <= step)
        share = taken / max(sum(entry["seconds"] for entry in seconds), 1e-9)
        tuning = learned.tuned.cost.device_seconds * share
        points.append(PointEntry(step, _selected_by(learned, step), tuning, scores))
    if points:
        scores = {score.benchmark: score.value for score in read_scores(end.folder, experiment.suite)}
        with experiment.tracker.stage("curve", experiment.config) as tracked:
            for step, found in [*((point.step, point.scores) for point in points), (seconds[-1]["step"], scores)]:
                tracked.log({"step": step, **found})
        log.info("  curve     evaluated after %s steps too", ", ".join(f"{point.step:,}" for point in points))
    return tuple(points)


def _selected_by(learned: Learned, step: int) -> float:
    """Device-seconds of selection until then."""
    if learned.schedule is None:
        return sum(stage.cost.device_seconds for stage in learned.selection.stages)
    return sum(one.selection for one in learned.schedule.rounds if one.first < step)
