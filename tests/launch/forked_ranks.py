"""Torchruns and ranks that are forked from the test's process: each that is started anew imports for up to ten seconds.

Torchrun itself is PyTorch's, with the words that `selectmm.launch.launch` gives it: how nodes meet, and who ends whom.
Only ``python -m`` is left out, twice. What starts as it does for a user: two nodes in ``test_launch.py``, and a launch
of each kind in ``features/test_ranks.py``, ``evaluation/test_workers.py`` and ``tuning/test_strategies.py``.
"""

import importlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import TimeoutExpired
from threading import Lock, Thread

from torch.distributed import run as torchrun
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from selectmm.launch.launch import PATIENCE
from selectmm.launch.rank import end_with

_one_at_a_time = Lock()  # a fork in the middle of another thread's import would wait for it for ever


class Forked:
    """What of a `subprocess.Popen` a launch asks for."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.terminate, self.kill = process.terminate, process.kill

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("torchrun", timeout)
        return self._process.exitcode


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[Forked]:
    """Stands in for `selectmm.launch.launch.running`."""
    python, flag, module, *words = command
    assert (python, flag, module) == (sys.executable, "-m", torchrun.__name__)
    with _one_at_a_time:
        importlib.import_module(words[words.index("selectmm.launch.rank") + 1])  # once, here
        process = multiprocessing.get_context("fork").Process(target=_be, args=(words, environment, log))
        forking = Thread(target=process.start)  # one forked from an executor's thread would, at its end, join itself
        forking.start()
        forking.join()
    forked = Forked(process)
    try:
        yield forked
    finally:
        if forked.poll() is None:
            forked.terminate()
            process.join(PATIENCE)
            process.kill()
            process.join()


def _be(words: list[str], environment: Mapping[str, str], log: Path) -> None:
    """One node's torchrun."""
    os.setsid()
    with log.open("wb") as output:
        for stream in (1, 2):
            os.dup2(output.fileno(), stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))
    logging.getLogger().handlers.clear()  # pytest's
    os.environ.clear()
    os.environ.update(environment)
    torchrun.elastic_launch = _forking
    torchrun.main(words)


def _forking(config: LaunchConfig, entrypoint: str) -> elastic_launch:
    assert entrypoint == sys.executable
    config.start_method = "fork"
    return elastic_launch(config, _rank)


def _rank(_unbuffered: str, _flag: str, _started: str, module: str, *arguments: str) -> None:
    """What ``python -u -m selectmm.launch.rank MODULE FOLDER LAUNCH STARTER DIGEST`` does."""
    end_with(os.getppid(), int(arguments[2]))
    if code := importlib.import_module(module).main(list(arguments)):
        sys.exit(code)
