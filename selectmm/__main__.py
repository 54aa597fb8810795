"""The command line, ``selectmm`` or ``python -m selectmm``: a run, a sweep of runs, or one of the commands."""

import importlib
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NoReturn
from uuid import uuid4

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from selectmm import __version__
from selectmm.command_line.completion import commands_for, line_of_options
from selectmm.command_line.help import VERBS, command_files, help_text, short_help
from selectmm.command_line.jobs import read_jobs
from selectmm.command_line.offered import OWN, make_known, take_own_folder
from selectmm.command_line.reading import (
    CONFIGS,
    ROOT,
    check_one_job,
    check_overrides,
    is_sweep,
    without_verb,
    words_of,
)
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.imports import uncollected
from selectmm.printable import PrintableFormatter
from selectmm.records.provenance import COMMAND, SWEEP_NAME, command_line
from selectmm.records.write_errors import full_disk
from selectmm.report.jobs import alone, keep_record, warn_of_failures
from selectmm.screen import JOB, answer, message, number_lines, output, quiet, take_output_options
from selectmm.stages.place import TORCH_LEVEL

HELP = {"--help", "-h"}
LOOKS = {"--cfg", "-c", "--info", "-i"}  # Hydra's options that show a run
COMPLETION = {"--shell-completion", "-sc"}
ASKED = {"help", "version"}  # typed without dashes too
SLURM = {"slurm", "submitit_slurm"}  # launchers that need srun
HERE = {"basic", "joblib", "submitit_local"}  # launchers whose jobs run on this machine
SHARING = {"JoblibLauncher", "LocalLauncher"}  # classes of launchers whose jobs share this machine's GPUs
ONE_PROCESS = {"basic", "joblib", "ray"}  # launchers that may run several jobs in one process, one after the other


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="run")
def job(config: DictConfig) -> str:
    """One job of a run or a sweep; returns the path of its record, or nothing if it failed in a sweep.

    A `UserError` of a run ends the process here, because Hydra would print a line of its own above the sentence.
    """
    try:
        return _run(config)
    except UserError as problem:
        if HydraConfig.get().mode is RunMode.MULTIRUN:
            raise
        _end(problem)


def _run(config: DictConfig) -> str:
    from selectmm.stages.gpus import own_gpus
    from selectmm.stages.place import place_of, started

    end_in_order()
    hydra = HydraConfig.get()
    place = place_of(config, started())
    if place.idle:
        return ""
    if "joblib" in hydra.launcher._target_:
        number_lines(hydra.job.num)
    if hydra.launcher._target_.rpartition(".")[2] in SHARING:
        if not str(config.model.get("device", "auto")).startswith("cpu"):
            # CUDA reads which GPUs it may see once, and the imports below may start it.
            own_gpus(config.devices if isinstance(config.devices, int) else 1)
    # These imports take seconds; Hydra has already said what is wrong with the command.
    with uncollected():
        from selectmm.instantiate import build
        from selectmm.run import run
        from selectmm.stages.follow import follow, same_on_all
        from selectmm.stages.full_seeds import left_out
        from selectmm.stages.nodes import leading

    with open_dict(config):  # the record then says model=…, method=… by the names they were chosen by
        config.nodes = place.nodes
        config.chosen = {group: name for group, name in hydra.runtime.choices.items() if not group.startswith("hydra")}
    swept = hydra.mode is RunMode.MULTIRUN
    folder = Path(hydra.runtime.output_dir)
    with alone(folder, hydra.overrides.task) if swept else nullcontext():
        if swept and left_out(config, hydra.runtime.choices["method"]):
            return ""
        experiment = build(config, hydra.runtime.choices["method"])
        if place.node > 0:
            follow(place, experiment)
            return ""
        with leading(place, same_on_all(experiment, place), experiment.cache) as nodes:
            record = run(replace(experiment, nodes=nodes))
        if swept:
            keep_record(folder, record)
        else:
            _print_result(record)
        return str(record)
    return ""


def _print_result(record: Path) -> None:
    """The result of a run that is no part of a sweep; how it went was logged."""
    from selectmm.records.files import load
    from selectmm.records.summary import summary

    if quiet():
        print(record)
    answer({"record": record, **summary(load(record))})


def end_in_order() -> None:
    """Let SIGTERM (`kill`, a batch system) and SIGHUP (a terminal that closes) unwind as Ctrl-C does.

    So every tracked run is finished, and every worker ended. Programs that handle a signal themselves (submitit,
    Lightning while it trains, nohup, which ignores SIGHUP) still do.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def main() -> None:
    """The command line. A `UserError` or a full disk ends it with a sentence and status 1, Ctrl-C with status 130."""
    os.environ["SELECTMM_ROOT"] = str(ROOT)
    os.environ[COMMAND] = command_line(sys.argv)
    for name in (OWN, SWEEP_NAME, JOB):  # a command names its folder, its sweep and its jobs itself
        os.environ.pop(name, None)
    logging.lastResort.setFormatter(PrintableFormatter())  # what a command logs, as it has no configuration of Hydra's
    # Whether there are GPUs is asked without starting CUDA, so that a job can still choose its own (`own_gpus`).
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")  # no bars of libraries beside ours; read when tqdm is imported
    # PyTorch's store would print C++ frames above the sentence on a lost node; read when torch is imported.
    os.environ.setdefault(TORCH_LEVEL, "ERROR")
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # otherwise Hydra hides where a bug of ours is
    logging.raiseExceptions = False  # or a log on a full disk prints a traceback for every line
    try:
        arguments, options = take_output_options(sys.argv[1:])
        arguments = take_own_folder(arguments)
        sys.argv[1:] = without_verb(arguments)
        make_known(sys.argv[1:])
        with output(**options):
            if arguments[:1] and arguments[0] in VERBS and HELP & set(arguments):
                print(short_help(arguments[0], ROOT))
            else:
                _answer(sys.argv[1:])
    except UserError as problem:
        _end(problem)
    except OSError as problem:  # of Hydra's own files, say, or of a table
        if (reason := full_disk(problem)) is None:
            raise
        sys.exit(f"\n{reason}")
    except KeyboardInterrupt:
        print(
            "\nStopped. Finished stages are kept, and an unfinished training up to its last checkpoint. Start the same "
            "command again to continue.",
            file=sys.stderr,
        )
        sys.exit(130)


def _end(problem: UserError) -> NoReturn:
    """End the process with a sentence and status 1; ``hydra.verbose=true`` shows where it was raised."""
    logging.getLogger("selectmm").debug("", exc_info=True)
    sys.exit(f"\n{problem}")


def _answer(arguments: Sequence[str]) -> None:
    first = arguments[0] if arguments else ""
    if first in ASKED and len(arguments) == 1:
        _answer([f"--{first}"])
    elif first in command_files():
        _command(first).main(arguments[1:])
    elif "--dry-run" in arguments:
        planned = [word for word in arguments if word != "--dry-run"]
        _command("plan").main(planned)
    elif HELP & set(arguments):
        if first and "=" not in first:
            check_overrides(CONFIGS, [first])
        print(help_text(ROOT))
    elif "--version" in arguments:
        print(f"selectmm {__version__}")
    elif COMPLETION & set(arguments):
        if any(word.startswith("query=") for word in arguments):  # install= prints a script, which the shell evaluates
            line = os.environ.get("COMP_LINE", "")
            print(" ".join(commands_for(line)))
            os.environ["COMP_LINE"] = line_of_options(line)
        job()  # Hydra answers the shell
    else:
        with uncollected():
            _check(arguments)
        job()


def _command(name: str) -> ModuleType:
    with uncollected():
        return importlib.import_module(f"selectmm.commands.{name.replace('-', '_')}")


def _check(arguments: Sequence[str]) -> None:
    """What is wrong with a command, before Hydra reads it and anything runs."""
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
    from selectmm.stages.gpus import check_enough, visible_gpus
    from selectmm.stages.place import started

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


if __name__ == "__main__":
    main()
