"""Start a stage's processes (ranks) with torchrun, on one node or several, and explain why one failed.

The process that starts them and the ranks share a folder: the job, every rank's output, the error of the rank that
failed first, and the peak memory of each. A rank's side is `serve`, which its module calls.
"""

import math
import os
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch

from selectmm.cache.cost import note_used, used
from selectmm.cache.no_links import open_unlinked
from selectmm.cache.stage import write_atomically
from selectmm.errors import UserError
from selectmm.launch.follower import Follower
from selectmm.launch.job import JOB, read_job, write_job
from selectmm.launch.nodes import ALONE, Joined, Launch, Nodes, free_port, own_address
from selectmm.launch.place import TORCH_LEVEL, Place

LOG = "worker.log"
POLL = 0.2  # seconds between looks at the other nodes
GRACE = 5.0  # seconds that the others have to say why, once a node has failed
PATIENCE = 45  # seconds for torchrun to end; it gives its ranks 30
KILLED = "(exitcode: -9)"  # in torchrun's words
TAIL = 15  # lines of a failed rank's output or traceback that are shown


@contextmanager
def launched(
    module: str,
    folder: Path,
    job: Mapping[str, Any],
    devices: int,
    device: torch.device,
    way_out: str,
    nodes: Nodes = ALONE,
) -> Iterator[subprocess.Popen]:
    """Run a module's ``main`` as ``devices`` ranks, one per device of ``device``'s type, spread evenly over the nodes.

    Yields this node's torchrun, for the block to follow; at the block's end all nodes' are waited for, and if the block
    raises, they and their ranks are ended.

    Args:
        module: its ``main`` calls `serve`. folder: exists, and all nodes see it; what is sent to the ranks and comes
            back lies there.
        job: what the ranks are to do, which their `serve` hands to the module; values of JSON, and paths.
        way_out: what a user can do where the system killed a rank for want of memory, after "use".

    Raises:
        UserError: a rank failed, or a node is lost.
    """
    mark = uuid.uuid4().hex[:8]  # ranks of a killed launch may outlive it a little, and write errors of their own
    place = nodes.place
    meeting = (place.host, free_port()) if nodes.count > 1 else ("", 0)
    per_node = math.ceil(devices / nodes.count)
    digest = write_job(folder, job)
    launch = Launch(mark, module, str(folder.resolve()), digest, per_node, device.type, *meeting, place.seconds)
    if nodes.count == 1:
        with running(_torchrun(launch, place), rank_environment(device, per_node), folder / LOG) as process:
            yield process
            process.wait()
        lost = None
    else:
        with (
            nodes.joining(launch) as joined,
            running(_torchrun(launch, place), rank_environment(device, per_node), folder / LOG) as process,
            _ending_together(joined, process) as watch,
        ):
            yield process
            lost = watch.wait(process)
    for peak in folder.glob(f"peak-{mark}-*"):
        note_used(peak.read_text())
    if process.returncode != 0 or lost:
        raise UserError(_explain(folder, mark, process.returncode, way_out, lost))


def join(launch: Launch, follower: Follower) -> int:
    """Run this node's share of a launch; returns the exit code of its torchrun, which ends when node 0 says so."""
    log = Path(launch.folder) / f"node{follower.place.node}-{LOG}"
    environment = rank_environment(torch.device(launch.device), launch.per_node)
    with running(_torchrun(launch, follower.place), environment, log) as process:
        while process.poll() is None:
            if follower.stopped():
                return 0  # why, is known to node 0
            time.sleep(POLL)
    return process.returncode


def _torchrun(launch: Launch, place: Place) -> list[str]:
    """The command of one node's agent and, through it, of its ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={launch.per_node}"]
    if place.nodes == 1:
        command += ["--standalone"]
    else:
        settings = f"is_host={int(place.node == 0)},join_timeout={math.ceil(launch.seconds)}"
        command += [f"--nnodes={place.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={launch.host}:{launch.port}"]
        command += [f"--rdzv-id={launch.mark}", f"--rdzv-conf={settings}", f"--local-addr={own_address(place)}"]
    rank = [launch.module, launch.folder, launch.mark, str(os.getpid()), launch.job]
    return [*command, "-m", "selectmm.launch.rank", *rank]


class _Watch:
    """Looks after the other nodes of a launch while this one's torchrun runs, which it ends if one of them fails.

    Ranks that share no computation (features, evaluation) would not notice.
    """

    def __init__(self, joined: Joined, process: subprocess.Popen) -> None:
        self._joined, self._process = joined, process
        self._over = Event()
        self.failed: str | None = None
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(POLL):
            self.failed = self._joined.failed()
            if self.failed:
                self._process.terminate()
                return

    def wait(self, process: subprocess.Popen) -> str | None:
        """Wait for all nodes; why another one failed, if one did."""
        process.wait()
        if process.returncode != 0:
            self._joined.stop()
        patience = None if process.returncode == 0 else time.monotonic() + GRACE
        while not self.failed and not self._joined.over() and (patience is None or time.monotonic() < patience):
            time.sleep(POLL)
        self.end()
        failed = self.failed or self._joined.failed()
        if failed:
            self._joined.stop()
        return failed

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()


@contextmanager
def _ending_together(joined: Joined, process: subprocess.Popen) -> Iterator[_Watch]:
    watch = _Watch(joined, process)
    try:
        yield watch
    finally:
        watch.end()


def tidy(folder: Path) -> None:
    """Delete what was sent to the ranks of a stage that has ended, and what came back."""
    for file in [
        folder / JOB,
        *folder.glob(f"*{LOG}"),
        *folder.glob("error-*.txt"),
        *folder.glob("trace-*"),
        *folder.glob("peak-*"),
    ]:
        file.unlink(missing_ok=True)


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A process in a session of its own (so a Ctrl-C reaches us alone), which does not outlive the block.

    Its output goes to ``log``; a link that somebody put there is not followed.
    """
    with open_unlinked(log, "wb") as output:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # torchrun ends its ranks, which live in sessions of their own, and then itself
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()  # the ranks notice that their parent is gone
                process.wait()


def rank_environment(device: torch.device, ranks: int) -> dict[str, str]:
    """The environment of ranks: one thread each on a CPU, beside GPUs an equal share of the cores unless
    ``OMP_NUM_THREADS`` says otherwise, and the tools that lie beside the interpreter.

    Args:
        ranks: on this machine.
    """
    environment = dict(os.environ)
    if environment.get(TORCH_LEVEL) == "ERROR":  # the ranks' output may say more
        del environment[TORCH_LEVEL]
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment.get("PATH", "")])
    if os.getcwd() not in {os.path.abspath(entry) for entry in sys.path}:
        environment["PYTHONSAFEPATH"] = "1"  # `python -m` would import from the working folder; this process does not
    if device.type == "cpu":
        environment |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    else:  # Slurm hands on what `selectmm.models` set on a login node without a GPU
        environment.pop("DS_ACCELERATOR", None)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // ranks)))  # torchrun would give several one each
    return environment


def serve(arguments: list[str], work: Callable[[Path, dict[str, Any], int, int], None]) -> int:
    """A rank's whole life: do its share, and leave its peak memory, or the reason why it failed, in the folder.

    Args:
        arguments: of the command line, as `launched` gives them: the folder, the launch, the process that started it,
            and the job's SHA-256.
        work: takes the folder, the job, this rank, and the number of ranks.

    Returns:
        The exit code; 1 if a user can fix what went wrong.
    """
    folder, launch, _starter, digest = Path(arguments[0]), *arguments[1:]
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    try:
        work(folder, read_job(folder, digest), rank, ranks)
    except UserError as problem:
        _report(folder / f"error-{launch}.txt", str(problem))
        return 1
    except Exception:
        lines = traceback.format_exc().splitlines()[-TAIL:]
        message = "\n".join([f"Worker {rank} of {folder} failed; the end of its output:", *lines])
        _report(folder / f"trace-{launch}.txt", message)
        raise
    write_atomically(folder / f"peak-{launch}-{rank}", used())
    return 0


def on_this_rank(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model's configuration, with the GPU of this rank in it where the model is to be on one."""
    if not torch.cuda.is_available() or str(model.get("device", "auto")).startswith("cpu"):
        return dict(model)
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)  # or what names no device would take memory of the first one, on every rank
    return {**model, "device": device}


def _report(file: Path, message: str) -> None:
    """The first rank to fail says why; what the others then meet is only its consequence."""
    with suppress(FileExistsError), file.open("x") as error:
        error.write(message)


def _explain(folder: Path, mark: str, code: int, way_out: str, lost: str | None) -> str:
    """Why a launch failed: what a user can fix, then a rank that was killed, then the first rank that broke.

    Args:
        code: of this node's torchrun. lost: what is wrong with another node, if anything is.
    """
    sentence, trace = folder / f"error-{mark}.txt", folder / f"trace-{mark}.txt"
    if sentence.exists():
        return sentence.read_text()
    logs = sorted(folder.glob(f"*{LOG}"))
    outputs = [log.read_text(errors="replace") for log in logs]
    if any(KILLED in output for output in outputs):
        return (
            f"A worker process was killed from outside, as Linux does when main memory runs out; use {way_out}, or "
            f"free some memory, and start the same command again: it continues from what is finished (all output is "
            f"in {' and '.join(map(str, logs))})."
        )
    if trace.exists():
        return trace.read_text()
    if lost:
        return lost
    return f"A worker process ended with code {code}; its last lines (all in {folder / LOG}):\n" + "\n".join(
        outputs[-1].splitlines()[-TAIL:]
    )
