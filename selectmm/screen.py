"""What a command shows: its result, and messages on the way; with ``--json`` the result as one JSON document.

======== ======================= ======================================
option   standard output         standard error
======== ======================= ======================================
none     messages and result     errors
--quiet  result                  errors
--json   the document alone      everything else; with --quiet, errors
======== ======================= ======================================

A command prints its result as text, with `print` or a console, and says it again with `answer`. Processes that it
starts read from the environment how it was asked.
"""

import json as jsons
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any, TextIO

from selectmm.errors import UserError
from selectmm.printable import NumberedFormatter, numbered, printable

LEVEL = (
    "SELECTMM_LEVEL"  # the environment variable with the lowest level of messages; configs/hydra/job_logging reads it
)
MESSAGES = "SELECTMM_MESSAGES"  # the one that says where messages go; read there too
JOB = "SELECTMM_JOB"  # the one with the number of the job that a process works for, where jobs write side by side
OPTIONS = ("--quiet", "--json")

_documents: list[TextIO] = []  # where `answer` writes; empty without --json


def take_output_options(arguments: Sequence[str]) -> tuple[list[str], dict[str, bool]]:
    """The arguments without ``--quiet`` and ``--json``, and which of the two were there, as `output` takes them.

    Raises:
        UserError: ``--json`` comes with a file.
    """
    for word in arguments:
        if word.startswith("--json="):
            raise UserError(f"--json prints to standard output and takes no file; write --json > {word[7:] or 'FILE'}.")
    rest = [word for word in arguments if word not in OPTIONS]
    return rest, {name.removeprefix("--"): name in arguments for name in OPTIONS}


@contextmanager
def output(quiet: bool = False, json: bool = False) -> Iterator[None]:
    """Inside, messages and results go where the table above says; in the processes that are started there too."""
    with ExitStack() as stack:
        if quiet:
            stack.enter_context(_environment(LEVEL, "WARNING"))
        if json:
            stack.enter_context(_environment(MESSAGES, "ext://sys.stderr"))
            stack.enter_context(_apart(quiet))
        yield


def quiet() -> bool:
    """Whether only results and errors are shown."""
    return os.environ.get(LEVEL) == "WARNING"


def message(text: str) -> None:
    """Print what is not a command's result."""
    if not quiet():
        print(of_job(printable(text)), flush=True)


def number_lines(job: int) -> None:
    """From now on, what this process and those that it starts say on the way begins with the number of its job."""
    os.environ[JOB] = str(job)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(NumberedFormatter(job))


def of_job(text: str) -> str:
    """The text, behind the number of its job where lines are numbered."""
    job = os.environ.get(JOB)
    return text if job is None else numbered(text, job)


def answer(document: Mapping[str, Any]) -> None:
    """Print a command's result with ``--json``; without, do nothing.

    Args:
        document: texts, numbers, paths, lists and mappings. A number that is not finite becomes null, as JSON has none.
    """
    for out in _documents:
        out.write(jsons.dumps(_plain(document), indent=1) + "\n")
        out.flush()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _apart(quiet: bool) -> Iterator[None]:
    """The document has standard output to itself: what anybody else writes there goes to standard error, or nowhere.

    That holds for Python's own stream and for the file descriptor, which libraries in C and other processes write to.
    """
    sys.stdout.flush()
    with ExitStack() as stack:
        own = stack.enter_context(os.fdopen(os.dup(1), "w", encoding="utf-8"))
        out = own if _descriptor(sys.stdout) == 1 else sys.stdout  # a test's
        other = stack.enter_context(open(os.devnull, "w", encoding="utf-8")) if quiet else sys.stderr
        stack.callback(os.dup2, own.fileno(), 1)
        os.dup2(other.fileno() if quiet else 2, 1)
        _documents.append(out)
        stack.callback(_documents.remove, out)
        stack.enter_context(redirect_stdout(other))
        yield


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except OSError:  # a stream in memory
        return None


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
