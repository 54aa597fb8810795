"""What a node other than node 0 does in a run: check that it has the same, and run its ranks of every stage."""

import logging
import platform
from collections.abc import Iterator, Mapping
from hashlib import sha256
from json import dumps
from pathlib import Path

import torch

from selectmm.cache.code_files import CODE_ENDINGS
from selectmm.cache.provenance import PACKAGES, version_of
from selectmm.cache.source_code import source_named, source_of
from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.launch.devices import check_devices
from selectmm.launch.follower import Follower
from selectmm.launch.launch import join
from selectmm.launch.place import Place
from selectmm.models.gpu import check_gpu

log = logging.getLogger("selectmm")

OWN = {"node", "rendezvous", "join_seconds"}  # options that nodes may differ in


def same_on_all(experiment: Experiment, place: Place) -> dict[str, str]:
    """What has to be the same on all nodes, by the names that a user reads.

    Code of one's own is no part of selectmm's: that of the method, its features and the schedule is named by class,
    what else the configuration names (a model family, a format of pools) as it does, and tasks by their folder.
    """
    options = {key: value for key, value in experiment.config.items() if key not in OWN}
    made = experiment.method, experiment.schedule, *experiment.method.needs().features
    digest = sha256(dumps(options, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return {
        "selectmm's code and packages": code_digest(),
        "command": digest,
        "number of devices": str(experiment.devices // place.nodes),
        **{f"code of {target}": _code_named(target) for target in _own_targets(experiment.config)},
        **_code_of_tasks(experiment.suite.tasks),
        **{f"code of {name}": code for name, code in map(_name_and_code, made)},
    }


def code_digest() -> str:
    """16 hex characters over this package's code and the versions of the packages that results depend on."""
    package = Path(__file__).parents[1]
    digest = sha256(platform.python_version().encode())
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + path.read_bytes())
    digest.update("".join(f"{name}={version_of(name)}" for name in PACKAGES).encode())
    return digest.hexdigest()[:16]


def _name_and_code(made: object) -> tuple[str, str]:
    name, _, code = source_of(made).partition("@")
    return name, code


def _own_targets(config: object) -> Iterator[str]:
    """What a configuration names that is no part of this package, at any depth."""
    if isinstance(config, Mapping):
        if isinstance(target := config.get("_target_"), str) and not target.startswith("selectmm."):
            yield target
        for value in config.values():
            yield from _own_targets(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _own_targets(value)


def _code_named(target: str) -> str:
    try:
        return source_named(target)
    except (ImportError, AttributeError, ValueError, OSError, TypeError) as problem:
        return f"it cannot be read here: {problem}"


def _code_of_tasks(tasks: Path | None) -> dict[str, str]:
    """Of the suite's own tasks, which each node's ranks run."""
    if tasks is None:
        return {}
    digest = sha256()
    for path in sorted(path for path in tasks.rglob("*") if path.suffix in CODE_ENDINGS and path.is_file()):
        digest.update(str(path.relative_to(tasks)).encode() + path.read_bytes())
    return {f"code of the tasks in {tasks}": digest.hexdigest()[:16]}


def follow(place: Place, experiment: Experiment) -> None:
    """Join every launch of the run that node 0 leads, until it ends.

    Raises:
        UserError: this node does not have what node 0 has, node 0 stopped, or is gone.
    """
    follower = Follower(place)
    log.info("  nodes     this is node %d; node 0 is %s", place.node, follower.leader["host"])
    problem = "it was stopped."
    try:
        _prepare(follower, same_on_all(experiment, place), experiment)
        for launch in follower.launches():
            log.info("  node %d    %s", place.node, Path(launch.module.replace(".", "/")).parent.name)
            follower.report(join(launch, follower))
        problem = ""
    except Exception as mine:
        problem = str(mine) or type(mine).__name__
        raise
    finally:
        why = follower.leave(problem)
    if why:
        raise UserError(f"Node 0 ({follower.leader['host']}) stopped: {why}")


def _prepare(follower: Follower, settings: Mapping[str, str], experiment: Experiment) -> None:
    follower.check(settings)
    check_gpu(experiment.scale, str(experiment.config["model"].get("device", "auto")))
    check_devices(experiment.devices // follower.place.nodes, torch.device(experiment.device))
    if (pool := follower.unless_ended(experiment.open_pool)) is not None:
        follower.tell("pool", pool.fingerprint)
