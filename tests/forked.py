"""The command line in a process that is forked from the test's, which has imported the packages already.

A process of its own imports for some eight seconds of a core. What depends on how a command is started runs as one:
see `tests.test_package`, and the tests of `tests.test_line` that start ``python -m selectmm``.
"""

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import mkdtemp

from selectmm import __main__ as command_line

LIMIT = 300  # seconds, many times what any of these commands takes


@dataclass(frozen=True)
class Started:
    """A command on its way, and the files that it prints to."""

    process: BaseProcess
    out: Path
    err: Path

    def ended(self) -> CompletedProcess[str]:
        """Wait for its end."""
        self.process.join(LIMIT)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return CompletedProcess([], self.process.exitcode, self.out.read_text(), self.err.read_text())


def start(words: Sequence[str], folder: Path, main: Callable[[], object] = command_line.main) -> Started:
    """Start ``python -m selectmm``, or another ``main``, with these words in ``folder``."""
    import selectmm.instantiate
    import selectmm.report.sweep
    import selectmm.run  # noqa: F401  (here, so that the fork need not)

    place = Path(mkdtemp(dir=folder, prefix="printed-"))
    out, err = place / "out.txt", place / "err.txt"
    out.touch()
    err.touch()
    process = multiprocessing.get_context("fork").Process(target=_be, args=(list(words), folder, main, out, err))
    process.start()
    return Started(process, out, err)


def command(
    words: Sequence[str], folder: Path, main: Callable[[], object] = command_line.main
) -> CompletedProcess[str]:
    """Run it to its end."""
    return start(words, folder, main).ended()


def _be(words: list[str], folder: Path, main: Callable[[], object], out: Path, err: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a CI's background jobs start deaf to Ctrl-C
    os.chdir(folder)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    logging.getLogger().handlers.clear()  # pytest's
    sys.argv = [str(Path(command_line.__file__)), *words]
    main()
