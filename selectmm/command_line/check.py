"""What is wrong with a run or a sweep, found before Hydra reads the command."""

import importlib
import os
import shutil
from collections.abc import Sequence, Set
from importlib.util import find_spec
from uuid import uuid4

from omegaconf import DictConfig

from selectmm.cache.provenance import SWEEP_NAME
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.reading import CONFIGS, check_one_job, check_overrides, is_sweep, words_of
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.report.jobs import warn_of_failures
from selectmm.screen import message

LOOKS = {"--cfg", "-c", "--info", "-i"}  # Hydra's options that show a run
SLURM = {"slurm", "submitit_slurm"}  # launchers that need srun
HERE = {"basic", "joblib", "submitit_local"}  # launchers whose jobs run on this machine
ONE_PROCESS = {"basic", "joblib", "ray"}  # launchers that may run several jobs in one process, one after the other


def check(arguments: Sequence[str]) -> None:
    """Check a run or a sweep before Hydra reads it and anything runs; what a sweep's jobs share is made now.

    Raises:
        UserError: naming the first thing that is wrong.
    """
    words = words_of(arguments)
    swept = bool({"-m", "--multirun"} & set(arguments))
    if swept and (shown := LOOKS & set(arguments)):
        raise UserError(
            f"{min(shown)} shows one run, not a sweep; use 'selectmm run' with one value of each key, without -m."
        )
    if set(arguments) - {*words, "-m", "--multirun"}:  # to be looked at, not run
        check_overrides(CONFIGS, words)
        if not swept:
            check_one_job(words)
    else:
        jobs = read_jobs(words, swept)
        launchers = {word.removeprefix("hydra/launcher=") for word in words if word.startswith("hydra/launcher=")}
        if swept or is_sweep(words):
            _check_sweep(jobs, launchers, words)
        elif launchers - {"basic"}:
            raise UserError(
                f"hydra/launcher={min(launchers)} starts the jobs of a sweep; use 'selectmm sweep' (or -m), or leave "
                f"it out."
            )


def _check_sweep(jobs: Sequence[tuple[DictConfig, str]], launchers: Set[str], words: Sequence[str]) -> None:
    if "joblib" in launchers and "hydra.launcher.n_jobs=0" in words:
        raise UserError("hydra.launcher.n_jobs=0 starts no job; give 1 or more, or -1 for all cores.")
    _check_slurm(launchers)
    if len(jobs) > 1:
        _check_launcher(launchers, words, {str(config.devices) for config, _ in jobs})
    if launchers <= ONE_PROCESS and len({bool(config.compute.get("liger")) for config, _ in jobs}) > 1:
        raise UserError(
            "Jobs with compute=liger and without it cannot share a process, in which Liger's kernels stay; start a "
            "sweep for each."
        )
    os.environ[SWEEP_NAME] = uuid4().hex
    count, named = counted(len(jobs), "job"), next(iter(launchers - {"basic"}), None)
    message(f"Checking {count}; what is not in the cache yet is read or made now: pool, benchmarks, target examples.")
    warn_of_failures(jobs, here=launchers <= HERE)
    importlib.import_module("selectmm.stages.sweep").log_jobs(jobs)
    message(f"Starting {count}, " + (f"with hydra/launcher={named}." if named else "one after the other."))


def _check_slurm(launchers: Set[str]) -> None:
    """Refuse a launcher of Slurm's where there is none: submitit looks for srun, after the checks of all jobs."""
    if (asked := launchers & SLURM) and shutil.which("srun") is None:
        raise UserError(
            f"hydra/launcher={min(asked)}: there is no srun here; start this on a login node of the cluster, or use "
            f"hydra/launcher=joblib."
        )


def _check_launcher(launchers: Set[str], words: Sequence[str], devices: Set[str]) -> None:
    """What jobs that run side by side cannot do.

    Args:
        devices: what the jobs have for ``devices``.
    """
    from selectmm.launch.gpus import check_enough, visible_gpus
    from selectmm.launch.place import started

    if "ray" in launchers and find_spec("hydra_plugins.hydra_ray_launcher") is None:
        raise UserError("hydra/launcher=ray needs hydra-ray-launcher; install the extra: pip install 'selectmm[ray]'.")
    given = dict(word.split("=", 1) for word in words if "=" in word)
    several = started() is not None and started().nodes > 1
    if launchers & {"joblib", "ray"} and (several or given.get("nodes", "auto") not in ("auto", "1")):
        raise UserError(
            f"hydra/launcher={min(launchers)} runs jobs side by side, each on one node; leave it out, and the jobs of "
            f"this sweep run one after the other on all nodes, or start the command on one node."
        )
    if "joblib" in launchers and not given.get("model.device", "auto").startswith("cpu"):
        asked, there = given.get("hydra.launcher.n_jobs", "-1"), len(visible_gpus())
        jobs = int(asked) if asked.isdecimal() else os.cpu_count() or 1
        wanted = {int(number) if number.isdecimal() else 1 for number in devices}
        if there and len(wanted) > 1:
            raise UserError(
                f"devices={','.join(map(str, sorted(wanted)))} with hydra/launcher=joblib: a process that has taken "
                f"GPUs for one job cannot take another number for the next; start a sweep for each number."
            )
        check_enough(jobs, max(wanted), there)
