"""An engine made for answering, vLLM, in processes of its own: one per device, asked through lines of JSON.

The other side is `selectmm.evaluation.vllm_process`, which says what a line holds.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from selectmm.cache.cost import note_busy
from selectmm.cache.no_links import open_unlinked, refuse_links
from selectmm.errors import UserError
from selectmm.evaluation.vllm_environment import PROCESS, environment_for, version_in

PATIENCE = 30  # seconds for a process to end by itself
TAIL = 15  # lines of a failed process's output that are shown


@dataclass(frozen=True)
class Engine:
    """The options of vLLM, and where it is; ``configs/engine/vllm.yaml`` describes every option.

    Attributes:
        python: the interpreter of an environment that has vLLM; None for the one that runs this.
        window: tokens of a prompt and its answer together; None for what the model has.
        memory: share of a GPU's memory that vLLM takes.
        block: requests that a process gets at a time; vLLM makes batches of its own from them.
        batch_invariant: whether vLLM is asked for kernels whose result does not depend on the batch (slower; not on
            every GPU).

    Raises:
        UserError: a number is out of range.
    """

    python: str | None
    window: int | None
    memory: float
    block: int
    batch_invariant: bool

    def __post_init__(self) -> None:
        if not 0 < self.memory <= 1:
            raise UserError(f"engine.memory={self.memory:g} is not a share of a GPU's memory, above 0 and at most 1.")
        for name, value in (("window", self.window), ("block", self.block)):
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(f"engine.{name}={value}: give a whole number above 0.")

    def learned(self) -> dict[str, object]:
        """What answers may depend on: options, and vLLM's version, whose kernels change."""
        settings = {"window": self.window, "block": self.block, "batch_invariant": self.batch_invariant}
        return {**settings, "vllm": version_in(self.interpreter)}

    @property
    def interpreter(self) -> str:
        """The Python that runs vLLM."""
        return self.python or sys.executable


@dataclass(frozen=True)
class Request:
    """Tokens to go on from, with their images (one placeholder each among the tokens), or to take likelihoods of.

    Attributes:
        rest: what `selectmm.evaluation.vllm_process` reads of a request beside tokens and images.
    """

    tokens: Sequence[int]
    rest: Mapping[str, object]
    images: Sequence[Image.Image] = ()


@dataclass
class Processes:
    """Running engines.

    Attributes:
        batch_invariant: whether they say that an answer does not depend on what is answered beside it.
        version: of vLLM.
    """

    engine: Engine
    folder: Path
    running: Sequence[subprocess.Popen]
    batch_invariant: bool = False
    version: str = ""

    def ask(self, blocks: Sequence[Any], requests: Callable[[Any], Sequence[Request]]) -> list[Any]:
        """The answers to all ``blocks``, block after block; process i of n takes every n-th block from i on.

        Args:
            blocks: what ``requests`` turns into a block's requests. It is called from several threads, one block ahead
                of the process, so that opening images costs no time.

        Raises:
            UserError: a process ended, or says what a user has to change.
        """
        count = len(self.running)
        with ThreadPoolExecutor(count) as pool:
            shares = [pool.submit(self._share, rank, blocks[rank::count], requests) for rank in range(count)]
            try:
                wait(shares, return_when=FIRST_EXCEPTION)
                for share in shares:
                    if share.done():
                        share.result()  # raises, where it failed, before the others are at their end
                done = [share.result() for share in shares]
            except BaseException:
                self.end(now=True)  # or the threads would wait for their answers
                raise
        return [answer for place in range(len(blocks)) for answer in done[place % count][place // count]]

    def _share(self, rank: int, blocks: Sequence[Any], requests: Callable[[Any], Sequence[Request]]) -> list[list[Any]]:
        answers: list[list[Any]] = []
        sent: list[tuple[Path, float]] = []
        free = 0.0  # when the process had answered what it was sent
        for place in range(len(blocks) + 1):
            if place < len(blocks):
                sent.append((self._send(rank, place, requests(blocks[place])), time.perf_counter()))
            if place:
                images, since = sent[place - 1]
                answers.append(self._receive(rank, images))
                now = time.perf_counter()
                note_busy(now - max(since, free))
                free = now
        return answers

    def _send(self, rank: int, place: int, requests: Sequence[Request]) -> Path:
        """Write images as files and the rest as a line; returns the folder of the images."""
        folder = self.folder / f"images-{rank}-{place}"
        refuse_links([folder])
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)  # nobody else puts links there
        lines = []
        for number, request in enumerate(requests):
            files = [folder / f"{number}-{position}.ppm" for position in range(len(request.images))]
            for file, image in zip(files, request.images, strict=True):
                image.convert("RGB").save(file)  # exact, and quickly written
            lines.append({"tokens": list(request.tokens), "images": [str(file) for file in files], **request.rest})
        with suppress(BrokenPipeError):  # that it has ended is reported where its answer is read
            stream = self.running[rank].stdin
            stream.write(json.dumps({"requests": lines}) + "\n")
            stream.flush()
        return folder

    def _receive(self, rank: int, images: Path) -> list[Any]:
        answers = self.line(rank)["answers"]
        shutil.rmtree(images, ignore_errors=True)
        return answers

    def line(self, rank: int) -> dict[str, Any]:
        """The next line of a process.

        Raises:
            UserError: it ended, or says what a user has to change.
        """
        line = self.running[rank].stdout.readline()
        if not line.endswith("\n"):
            raise UserError(self._explain(rank))
        content = json.loads(line)
        if "problem" in content:
            raise UserError(_WAYS_OUT[content["problem"]].format(python=self.engine.interpreter, why=_first(content)))
        return content

    def end(self, now: bool = False) -> None:
        """End all processes, with those that they started; ``now``: without waiting until they do so themselves."""
        for process in self.running:
            with suppress(OSError):
                process.stdin.close()  # a process that is not at work ends by itself
        for process in self.running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(0 if now else PATIENCE)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _explain(self, rank: int) -> str:
        code = self.running[rank].wait()
        log = _log(self.folder, rank)
        lines = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL:])
        if code == -signal.SIGKILL:
            return (
                f"The vLLM process {rank} was killed from outside, as Linux does when main memory runs out; free some "
                f"memory or set fewer devices, and start the same command again: it continues from what is answered "
                f"(all output is in {log})."
            )
        return f"The vLLM process {rank} ended with code {code}; its last lines (all in {log}):\n{lines}"


_WAYS_OUT = {
    "vllm": "There is no vLLM in the environment of {python} ({why}); install it there, set engine.python to the "
    "interpreter of an environment that has it, or evaluate without engine=vllm.",
    "family": "vLLM cannot serve this model ({why}); evaluate it without engine=vllm.",
    "window": "A prompt and its answer do not fit into vLLM's window ({why}); raise engine.window, or leave it out for "
    "the model's own.",
}


def _first(content: Mapping[str, str]) -> str:
    """What vLLM says, without the pages that follow."""
    text = " ".join(content["why"].split())
    return text if len(text) <= 300 else f"{text[:300]}…"


@contextmanager
def running(engine: Engine, model: Path, dtype: str, devices: int, folder: Path) -> Iterator[Processes]:
    """One process per device for the length of the block, with the model loaded.

    Args:
        model: a whole checkpoint. dtype: as torch names it, without its ``torch.``.
        folder: exists; what the processes say, and images on their way to them, lie there.

    Raises:
        UserError: see `Processes.line`; there is no such interpreter.
    """
    options = {"model": str(model), "dtype": dtype, "window": engine.window, "memory": engine.memory}
    with ExitStack() as stack:
        started = []
        processes = Processes(engine, folder, started)
        stack.callback(processes.end)
        for rank in range(devices):
            started.append(_start(engine, options, rank, folder))
        for rank in range(devices):
            ready = processes.line(rank)["ready"]
        processes.version, processes.batch_invariant = ready["vllm"], ready["batch_invariant"]
        yield processes


def _start(engine: Engine, options: Mapping[str, object], rank: int, folder: Path) -> subprocess.Popen:
    command = [engine.interpreter, str(PROCESS), json.dumps(options)]
    try:
        with open_unlinked(_log(folder, rank), "wb") as log:
            return subprocess.Popen(
                command,
                env=_environment_of(engine, rank),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # so a Ctrl-C reaches us alone
            )
    except OSError as problem:
        raise UserError(
            f"engine.python={engine.interpreter} cannot be started ({problem.strerror}); give the interpreter of an "
            f"environment that has vLLM, such as /envs/vllm/bin/python."
        ) from problem


def _environment_of(engine: Engine, rank: int) -> dict[str, str]:
    """An engine's, with one GPU."""
    environment = environment_for(engine.interpreter)
    if engine.batch_invariant:
        environment["VLLM_BATCH_INVARIANT"] = "1"
    if torch.cuda.is_available():
        mine = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        environment["CUDA_VISIBLE_DEVICES"] = mine.split(",")[rank].strip() if mine else str(rank)
    return environment


def _log(folder: Path, rank: int) -> Path:
    return folder / f"vllm-{rank}.log"
