"""One run of the tracker's for all stages of a job."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

from selectmm.experiment import Experiment


def tracked(run: Callable[[Experiment], Path]) -> Callable[[Experiment], Path]:
    """``run`` inside a job of the experiment's tracker, whose name and tags say what is compared."""

    @wraps(run)
    def within(experiment: Experiment) -> Path:
        with experiment.tracker.job(name_of(experiment), tags_of(experiment), experiment.config):
            return run(experiment)

    return within


def name_of(experiment: Experiment) -> str:
    """Method, budget and seed: what the jobs of a sweep differ in."""
    return f"{experiment.method_name}-{experiment.budget:g}-s{experiment.seed}"


def tags_of(experiment: Experiment) -> list[str]:
    """Experiment, method, model and suite, to filter by."""
    chosen = experiment.config.get("chosen") or {}
    tags = [experiment.name, experiment.method_name, str(chosen.get("model", "")), experiment.suite.name]
    return [tag for tag in dict.fromkeys(tags) if tag]
