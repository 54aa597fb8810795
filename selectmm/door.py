"""The door: the one place where a configuration becomes objects."""

import json
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool


def build(config: DictConfig, method_name: str) -> Experiment:
    """An experiment from a composed configuration (configs/run.yaml says what is in it).

    Raises:
        UserError: a value that has no default was not given, or an ingredient refuses its options.
    """
    unset = sorted(OmegaConf.missing_keys(config))
    if unset:
        raise UserError(f"Not set: {', '.join(unset)}; give {unset[0]}=… on the command line.")
    plain = cast(dict[str, object], OmegaConf.to_container(config, resolve=True))
    return Experiment(
        name=config.experiment,
        scale=config.scale,
        open_pool=partial(open_pool, plain["pool"]),
        open_model=partial(open_model, plain["model"]),
        method_name=method_name,
        method=_made(plain["method"]),
        budget=float(config.budget),
        recipe=_made(plain["recipe"]),
        strategy=_made(plain["strategy"]),
        suite=_made(plain["suite"]),
        tracker=_made(plain["tracker"]),
        seed=int(config.seed),
        batch_size=int(config.batch_size),
        cache=Path(config.cache),
        records=Path(config.records),
        config=plain,
    )


def open_pool(config: Mapping[str, object]) -> Pool:
    """The pool that a ``pool`` group describes."""
    return _made(config)


def open_model(config: Mapping[str, object]) -> VLM:
    """The model that a ``model`` group describes; opened once per process, which a sweep of many jobs shares."""
    return _model(json.dumps(config, sort_keys=True))


@cache
def _model(config: str) -> VLM:
    return _made(json.loads(config))


def _made(config: object) -> object:
    """Instantiate, with a `UserError` from inside coming out as itself instead of wrapped in Hydra's."""
    try:
        return instantiate(config, _convert_="all")
    except Exception as problem:
        cause: BaseException | None = problem
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from None
