"""The command line, ``selectmm`` or ``python -m selectmm``: a run, a sweep of runs, or one of the commands."""

import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from selectmm import __version__
from selectmm.cache.provenance import COMMAND, SWEEP_NAME, command_line
from selectmm.cache.write_errors import full_disk
from selectmm.command_line.check import check
from selectmm.command_line.completion import commands_for, line_of_options
from selectmm.command_line.help import VERBS, command_files, help_text, short_help
from selectmm.command_line.offered import OWN, make_known, take_own_folder
from selectmm.command_line.reading import CONFIGS, ROOT, check_overrides, without_verb
from selectmm.errors import UserError
from selectmm.imports import uncollected
from selectmm.launch.place import TORCH_LEVEL
from selectmm.printable import PrintableFormatter
from selectmm.report.jobs import alone, keep_record
from selectmm.screen import JOB, answer, number_lines, output, quiet, take_output_options

HELP = {"--help", "-h"}
COMPLETION = {"--shell-completion", "-sc"}
ASKED = {"help", "version"}  # typed without dashes too
SHARING = {"JoblibLauncher", "LocalLauncher"}  # classes of launchers whose jobs share this machine's GPUs


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
    from selectmm.launch.gpus import own_gpus
    from selectmm.launch.place import place_of, started

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
        from selectmm.launch.nodes import leading
        from selectmm.run import run
        from selectmm.stages.follow import follow, same_on_all
        from selectmm.stages.full_seeds import left_out

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
            check(arguments)
        job()


def _command(name: str) -> ModuleType:
    with uncollected():
        return importlib.import_module(f"selectmm.commands.{name.replace('-', '_')}")


if __name__ == "__main__":
    main()
