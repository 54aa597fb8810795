"""The first stage: open the pool, and look for benchmark items in it."""

import logging
from pathlib import Path

from selectmm.contamination.check import Contamination, check
from selectmm.contamination.page import sentence
from selectmm.counted import counted
from selectmm.evaluation.suite import Suite
from selectmm.experiment import Experiment
from selectmm.models.check_rows import fitting
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.stages.summary import time_of

log = logging.getLogger("selectmm")


def open_pool(experiment: Experiment, vlm: VLM) -> Pool:
    """Open the pool, its images checked; rows that are bad, or that the model cannot take, are dealt with."""
    with experiment.tracker.stage("pool", experiment.config) as tracked:
        pool = experiment.open_pool()
        experiment.nodes.agree("pool", pool.fingerprint)
        pool = fitting(pool, vlm, experiment.recipe.max_length, experiment.bad_rows, experiment.cache)
        without = int((pool.image_of < 0).sum())
        tracked.summary({"rows": len(pool), "text_only": without, "unique_images": len(pool.images)})
        tracked.artifact(None, f"pool-{pool.fingerprint}", "pool")
    rows, sources, images = counted(len(pool), "row"), counted(len(pool.counts()), "source"), len(pool.images)
    texts = counted(without, "row")
    log.info("  pool      %s of %s, %s, %s without an image", rows, sources, counted(images, "image"), texts)
    if pool.health and pool.health.bad_rows:
        reasons = ", ".join(f"{count:,} with {reason}" for reason, count in pool.health.reasons.items())
        dropped = counted(pool.health.bad_rows, "bad row was", "bad rows were")
        log.info("            %s dropped, as pool.bad_rows says: %s", dropped, reasons)
    if pool.unfit:
        which = "that the model cannot take"
        log.info("            %s dropped too", counted(len(pool.unfit.bad), f"row {which} was", f"rows {which} were"))
    return pool


def check_contamination(pool: Pool, suite: Suite, cache: Path, wanted: bool) -> Contamination | None:
    """Count the suite's items that occur in the pool, before anything is trained; None if that is not ``wanted``."""
    if not wanted:
        log.info("  check     whether the pool holds the suite's items: not checked (contamination=false)")
        return None
    checked, stages = check(pool, suite, cache)
    log.info("  check     %s %s", sentence(checked), time_of(*stages))
    if checked.total.same or checked.total.near:
        log.info("            they are listed in %s", checked.listing)
    return checked
