"""What the jobs of a sweep read of one model and pool, so that the first one that passes over it reads it for all.

The process that starts a sweep tells its jobs, wherever they run, in an environment variable.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from zlib import compress, decompress, error

from omegaconf import DictConfig

from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.features.feature import Feature
from selectmm.features.onepass import takes_a_pass
from selectmm.features.ranks import config_of, feature_of
from selectmm.schedules.static import Static

SWEEP = "SELECTMM_SWEEP"


def log_jobs(jobs: Sequence[tuple[DictConfig, str]]) -> None:
    """Tell the jobs of a sweep, which start after this, what all of them read; not those that cannot be built."""
    from selectmm.instantiate import build  # seconds

    experiments = []
    for config, method in jobs:
        with suppress(UserError):
            experiments.append(build(config, method))
    read = {place: [config_of(feature) for feature in features] for place, features in union_of(experiments).items()}
    # Packed, because Linux starts no process with a variable of 128 KiB, which several hundred jobs would fill.
    os.environ[SWEEP] = b64encode(compress(json.dumps(read).encode())).decode()


def others_of(experiment: Experiment) -> list[Feature]:
    """What the jobs of this job's sweep read where this one reads, its own included; nothing outside of a sweep."""
    return [feature_of(config) for config in features_of_sweep().get(place_of(experiment), [])]


def features_of_sweep() -> dict[str, list[dict[str, object]]]:
    """Features that the jobs of the sweep read, as `log_jobs` left them, by what they are computed from."""
    packed = os.environ.get(SWEEP)
    with suppress(ValueError, error):  # of a sweep that another version started; a job can do without
        return json.loads(decompress(b64decode(packed))) if packed else {}
    return {}


def union_of(experiments: Sequence[Experiment]) -> dict[str, list[Feature]]:
    """Features that take a pass of the model before training, by what they are read of (`place_of`)."""
    union: dict[str, dict[Feature, None]] = {}
    for experiment in experiments:
        if not isinstance(experiment.schedule, Static):
            continue  # its rounds read some rows at a time, of a model that is being trained
        try:
            needs = experiment.method.needs()
        except UserError:
            continue  # its own job says what it lacks
        if needs.snapshots:
            continue  # read at several points of a warm-up that no other method has
        wanted = [feature for feature in needs.features if takes_a_pass(feature)]
        union.setdefault(place_of(experiment), {}).update(dict.fromkeys(wanted))
    return {place: list(features) for place, features in union.items()}


def place_of(experiment: Experiment) -> str:
    """What a job's features are read of: model, pool, tokens per row, and the warm-up, if it has one."""
    warmup = experiment.method.needs().warmup
    read = {name: experiment.config.get(name) for name in ("model", "pool", "compute")}
    read["limit"] = experiment.recipe.max_length
    if warmup is not None:
        read |= {"warmup": [type(warmup).__name__, asdict(warmup)], "seed": experiment.seed}
        read |= {name: experiment.config.get(name) for name in ("recipe", "strategy")}
    return fingerprint(read)
