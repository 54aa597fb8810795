"""Builds objects from a configuration; nothing else in the library reads one."""

import json
import re
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import is_dataclass, replace
from functools import cache, lru_cache, partial
from inspect import isfunction
from pathlib import Path
from typing import Any, cast

import torch
from hydra._internal.utils import _locate
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from selectmm.budget import check_budget, hours_in
from selectmm.errors import UserError
from selectmm.evaluation.own import METRICS, RATED, benchmarks
from selectmm.evaluation.suite import Suite
from selectmm.experiment import Experiment
from selectmm.fields import as_typed, check_values
from selectmm.methods.method import Method
from selectmm.models.compute import PLAIN, Compute
from selectmm.models.load import pick_device, pick_dtype
from selectmm.models.vlm import VLM
from selectmm.network import check_path
from selectmm.pool.looking import keeping_pictures
from selectmm.pool.pool import Pool
from selectmm.tuning.recipe import Strategy
from selectmm.values import folder, number, switch


def build(config: DictConfig, method_name: str) -> Experiment:
    """An experiment from a composed configuration (configs/run.yaml says what is in it).

    Raises:
        UserError: a value that has no default was not given, or an ingredient refuses its options.
    """
    unset = sorted(OmegaConf.missing_keys(config))
    if unset:
        raise UserError(f"Not set: {', '.join(unset)}; give {unset[0]}=… on the command line.")
    plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
    if plain.get("heldout") is not None:
        plain["suite"] = _with_own(
            plain["suite"], plain["pool"], plain["heldout"], str(config.cache), bool(plain.get("engine"))
        )
    for group in ("pool", "targets"):
        if (plain.get(group) or {}).get("bad_rows") == "keep":
            raise UserError(f"{group}.bad_rows=keep is for looking at bad rows; a run takes stop or drop.")
    _check_compute(plain)
    caches, records = folder("cache", config.cache), folder("records", config.records)
    for group in ("suite", "pool", "targets", "model", "compute"):  # which are opened later; targets repeat the suite's
        _check_values(plain.get(group) or {}, group)
    device = pick_device(plain["model"].get("device", "auto")).type
    devices = _devices(config, device)
    return Experiment(
        name=config.experiment,
        scale=config.scale,
        open_pool=partial(open_pool, plain["pool"], pictures=switch("contamination", config.contamination)),
        open_targets=partial(open_pool, plain["targets"]) if plain.get("targets") else None,
        open_model=partial(open_model, plain["model"]),
        open_shapes=partial(open_shapes, plain["model"]),
        device=device,
        method_name=method_name,
        method=_made(plain["method"], "method"),
        budget=_budget(config),
        recipe=_made(plain["recipe"], "recipe"),
        strategy=_spread(_made(plain["strategy"], "strategy"), devices),
        engine=_made(plain["engine"], "engine") if plain.get("engine") else None,
        tracker=_made(plain["tracker"], "tracker"),
        seed=number("seed", config.seed, int),
        batch_size=number("batch_size", config.batch_size, int),
        contamination=switch("contamination", config.contamination),
        devices=devices,
        cache=caches,
        records=records,
        config=plain,
        schedule=_made(plain["schedule"], "schedule"),
        curve=number("curve", config.curve, int),
        suite=open_suite(plain["suite"]),  # last: it may make its data, which takes a minute
    )


def _with_own(
    suite: Mapping[str, Any], pool: Mapping[str, Any], heldout: object, cache: str, engine: bool
) -> dict[str, Any]:
    """The suite's group with a benchmark of held-out rows beside its own; they are read as the pool's rows are.

    Args:
        engine: whether something else than this project's own passes evaluates.

    Raises:
        UserError: the pool is read from no file that another could stand for, or the held-out file is not there.
    """
    key = next((key for key in ("file", "split", "tars") if key in pool), None)
    if key is None:
        raise UserError(
            f"heldout={heldout} names a file of rows in the pool's format, but this pool has none; use heldout= with "
            f"pool=llava_json, sharegpt, parquet, hub or webdataset."
        )
    rows = {**pool, key: heldout}
    if rows[key] == pool[key]:
        raise UserError(f"heldout={heldout} is the pool itself; hold out rows in a file of their own.")
    if key == "file" and "://" not in str(heldout) and not Path(str(heldout)).exists():
        raise UserError(f"heldout={heldout}: there is no such file; name one of held-out rows in the pool's format.")
    own, ours, absent = suite["benchmarks"], benchmarks(), suite.get("absent") or {}
    if engine:
        ours = [one for one in ours if one["task"] != RATED]
        absent = {**absent, **{name: _UNRATED for name, (task, _) in METRICS.items() if task == RATED}}
    listed = list(own.values() if isinstance(own, Mapping) else own)
    tasks = {
        "_target_": "selectmm.evaluation.own.tasks_with_own",
        "tasks": suite["tasks"],
        "rows": rows,
        "cache": cache,
    }
    names, only = [one["name"] for one in ours], suite.get("only")
    if isinstance(only, list) and only and not set(names) & set(only):  # rows are held out to be asked
        only = [*only, *names]
    return {**suite, "benchmarks": [*listed, *ours], "tasks": tasks, "absent": absent, "only": only}


_UNRATED = "vLLM answers questions, and does not tell the loss of answers that are given"


def _devices(config: DictConfig, device: str) -> int:
    """How many devices a run takes on all its nodes.

    ``devices`` counts those of one node; ``auto`` is every GPU of this machine, and one process on a CPU.
    """
    nodes, asked = config.get("nodes", "auto"), config.get("devices", "auto")
    if asked == "auto":
        asked = torch.cuda.device_count() if device == "cuda" else 1
    if not isinstance(asked, int) or isinstance(asked, bool):
        raise UserError(
            f"devices={asked} is neither a whole number nor auto; set devices=auto, or to how many there are."
        )
    return asked * (nodes if isinstance(nodes, int) else 1)  # auto is decided before, see `selectmm.launch.place`


def _spread(strategy: Strategy, devices: int) -> Strategy:
    """The strategy on a run's devices; ``single`` trains on one, whatever the other stages take."""
    return strategy if strategy.kind == "single" else replace(strategy, devices=devices)


def _check_compute(config: Mapping[str, Any]) -> None:
    """Whether the model can be computed so at all; whether this machine can is asked as the model is opened.

    Raises:
        UserError: the model can only be computed plainly.
    """
    if open_compute(config["compute"]) != PLAIN and "compute" not in config["model"]:
        raise UserError("This model supports compute=plain only; use that, or another model.")


def open_pool(config: Mapping[str, Any], pictures: bool = False) -> Pool:
    """The pool that a ``pool`` group describes.

    Args:
        pictures: whether what is seen of its images is kept, for those who look for equal ones.
    """
    with keeping_pictures() if pictures else nullcontext():
        return _made(config, "pool")


def open_method(config: Mapping[str, Any]) -> Method:
    """The method that a ``method`` group describes."""
    return _made(config, "method")


def open_suite(config: Mapping[str, Any]) -> Suite:
    """The suite that a ``suite`` group describes."""
    return _made(config, "suite")


def open_compute(config: Mapping[str, Any]) -> Compute:
    """What a ``compute`` group describes."""
    return _made(config, "compute")


def open_model(config: Mapping[str, Any]) -> VLM:
    """The model that a ``model`` group describes; jobs of a sweep that follow one another share it.

    The last one alone is kept: a sweep over models would fill the GPU with those that it is done with.
    """
    if isinstance(path := config.get("path"), str):
        check_path("model.path", path)
    return _model(json.dumps(config, sort_keys=True))


def open_shapes(config: Mapping[str, Any], device: str) -> VLM:
    """The same model without its numbers, its dtype as on a device of that type (`selectmm.models.load`).

    A loader that has no option ``device`` can only be asked for the whole model.
    """
    if "device" not in config:
        return open_model(config)
    dtype = str(pick_dtype(str(config.get("dtype", "auto")), torch.device(device))).removeprefix("torch.")
    return _shapes(json.dumps({**config, "device": "meta", "dtype": dtype}, sort_keys=True))


@lru_cache(maxsize=1)
def _model(config: str) -> VLM:
    return _made(json.loads(config), "model")


@cache  # they take no memory to speak of
def _shapes(config: str) -> VLM:
    return _made(json.loads(config), "model")


def _made(config: Mapping[str, Any], key: str) -> Any:
    """Instantiate, with a `UserError` from inside coming out as itself instead of wrapped in Hydra's.

    Args:
        key: the group, as values of it are typed.
    """
    if "_target_" not in config:
        raise UserError(f"{key} names no class; its YAML file needs a line such as _target_: my_project.mine.Mine.")
    try:
        _check_values(config, key)  # first: what a wrong type does inside is anybody's guess
        return instantiate(config, _convert_="all")
    except Exception as problem:
        cause: BaseException | None = problem
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__
        if cause is None:
            if isinstance(problem, InstantiationException) and (named := _UNFOUND.search(str(problem))):
                raise UserError(
                    f"_target_: {named[1]} cannot be imported ({_reason(problem)}); install its package, or set "
                    f"PYTHONPATH to the folder where it is."
                ) from problem
            raise
        raise cause from None


def _check_values(config: Mapping[str, Any], key: str) -> None:
    """`check_values` for a configuration's target, and for those inside it."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            _check_values(value, f"{key}.{name}")
    if "_target_" in config:
        try:
            target = _locate(config["_target_"])  # Hydra's own without its log, which has no public name
        except ImportError:  # `instantiate` will say so
            return
        if isfunction(target) or (isinstance(target, type) and is_dataclass(target)):
            check_values(target, config, key)


_UNFOUND = re.compile(r"Error locating target '([^']*)'")


def _reason(problem: BaseException) -> str:
    """What the innermost cause says, on one line."""
    while problem.__cause__ is not None:
        problem = problem.__cause__
    return " ".join(str(problem).split())


def _budget(config: DictConfig) -> float:
    """A share or a number of rows; hours are for a command that can estimate, not for a run."""
    if hours_in(config.budget) is not None:
        raise UserError(
            f"budget={config.budget} is in hours, for 'selectmm select' alone; give a share (0.3) or rows (5000)."
        )
    if isinstance(config.budget, str) or config.budget is None:
        raise UserError(
            f"budget={as_typed(config.budget)} is not a number; give a share, such as 0.2 for 20 %, a number of "
            f"rows, such as 5000, or, with 'selectmm select', hours of a GPU, such as 8h@h100."
        )
    budget = number("budget", config.budget, float)
    check_budget(budget)
    return budget
