"""One run of the tracker's for all stages of a job."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path

from selectmm.experiment import Experiment


def tracked(run: Callable[[Experiment], Path]) -> Callable[[Experiment], Path]:
    """Call ``run`` inside a job of the experiment's tracker, whose name and tags say what is compared."""

    @wraps(run)
    def within(experiment: Experiment) -> Path:
        name = name_of(experiment.method_name, experiment.budget, experiment.seed)
        with experiment.tracker.job(name, tags_of(experiment), experiment.config):
            return run(experiment)

    return within


def name_of(method: str, budget: float, seed: int) -> str:
    """Method, budget and seed: what the jobs of a sweep differ in."""
    return f"{method}-{budget:g}-s{seed}"


def tags_of(experiment: Experiment) -> list[str]:
    """Experiment, method, model and suite, to filter by."""
    chosen = experiment.config.get("chosen") or {}
    tags = [experiment.name, experiment.method_name, str(chosen.get("model", "")), experiment.suite.name]
    return [tag for tag in dict.fromkeys(tags) if tag]
