"""One experiment from the pool to its record, in five steps."""

import logging
from pathlib import Path

from selectmm.cache.stage import giving_way
from selectmm.evaluation.apart import check_apart
from selectmm.evaluation.video import check_clips
from selectmm.evaluation.vllm_backend import check_served
from selectmm.experiment import Experiment
from selectmm.launch.devices import aside, check_devices
from selectmm.models.gpu import check_gpu
from selectmm.stages.curve import evaluate_points
from selectmm.stages.evaluate import evaluate_tuned
from selectmm.stages.pool import check_contamination, open_pool
from selectmm.stages.record import keep_record, record_of
from selectmm.stages.scale import too_small_for
from selectmm.stages.schedule import check_choice, learn
from selectmm.stages.suite_data import check_data
from selectmm.stages.tracked import tracked
from selectmm.tuning.finetune import check_numbers, check_tunable

log = logging.getLogger("selectmm")


@tracked
def run(experiment: Experiment) -> Path:
    """Take the pool, select, fine-tune, evaluate, record; what was done before comes from the cache.

    Returns:
        The record's file.
    """
    log.info("\n%s", experiment.announced)
    check_gpu(experiment.scale, str(experiment.config["model"].get("device", "auto")))
    check_numbers(experiment.recipe, experiment.strategy)
    suite = experiment.suite
    check_data(suite)
    vlm = experiment.open_model()  # before the pool, whose images may take an hour to look at
    if warning := too_small_for(vlm, experiment.recipe.name, suite.name):
        log.warning("  %s", warning)
    check_tunable(vlm, experiment.recipe, experiment.strategy)  # now, because selecting may take long
    check_devices(experiment.devices // experiment.nodes.count, vlm.model.device)
    if experiment.engine is not None:
        check_served(vlm)
    check_clips(vlm, suite, served=experiment.engine is not None)
    with aside(vlm):  # looking at images needs no device
        pool = open_pool(experiment, vlm)
        check_apart(pool, experiment.suite.tasks)
        targets = check_choice(experiment, pool, vlm)
        checked = check_contamination(pool, experiment.suite, experiment.cache, experiment.contamination)
    with giving_way(lambda: aside(vlm)):  # nor does waiting for another job
        learned = learn(experiment, pool, vlm)
        evaluated = evaluate_tuned(experiment, vlm, learned.tuned)
        curve = evaluate_points(experiment, vlm, learned, evaluated)
    record = record_of(experiment, pool, vlm, checked, learned, evaluated, curve, targets)
    return keep_record(experiment, record, learned.tuned, evaluated)
