"""Start a stage's processes (ranks) with torchrun, and explain why one failed.

The process that starts them and the ranks share a folder: the stage's instructions, every rank's output, the error of
the rank that failed first, and the peak memory of each. A rank's side is `serve`, which its module calls.
"""

import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from selectmm.errors import UserError
from selectmm.models.vlm import VLM
from selectmm.records.cost import note_used, used

LOG = "worker.log"
PATIENCE = 45  # seconds for torchrun to end; it gives its ranks 30
KILLED = "(exitcode: -9)"  # in torchrun's words
RANK_VARIABLES = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
TORCHRUN = ("GROUP_", "ROLE_", "TORCHELASTIC_", "PET_")  # how its other variables begin
TAIL = 15  # lines of a failed rank's output or traceback that are shown


@contextmanager
def launched(module: str, folder: Path, devices: int, device: torch.device, way_out: str) -> Iterator[subprocess.Popen]:
    """Run a module's ``main`` as ``devices`` ranks on this machine, one per device of ``device``'s type.

    Yields torchrun's process, for the block to follow; at the block's end it is waited for, and if the block raises, it
    and its ranks are ended.

    Args:
        module: its ``main`` calls `serve`. folder: exists; what the ranks are told and say lies there.
        way_out: what a user can do where the system killed a rank for want of memory, after "use".

    Raises:
        UserError: a rank failed.
    """
    launch = uuid.uuid4().hex[:8]  # ranks of a killed launch may outlive it a little, and write errors of their own
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={devices}"]
    command += ["-m", "selectmm.stages.rank", module, str(folder), launch, str(os.getpid())]
    with running(command, rank_environment(device), folder / LOG) as process:
        yield process
        process.wait()
    for peak in folder.glob(f"peak-{launch}-*"):
        note_used(peak.read_text())
    if process.returncode != 0:
        raise UserError(_explain(folder / f"error-{launch}.txt", process.returncode, way_out))


def tidy(folder: Path) -> None:
    """Delete what the ranks of a stage that has ended said."""
    for file in [folder / LOG, *folder.glob("error-*.txt"), *folder.glob("peak-*")]:
        file.unlink(missing_ok=True)


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A process in a session of its own (so a Ctrl-C reaches us alone), which does not outlive the block."""
    with log.open("wb") as output:
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


def rank_environment(device: torch.device) -> dict[str, str]:
    """The environment of ranks: one thread each on a CPU, and the tools that lie beside the interpreter."""
    environment = dict(os.environ)
    environment["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), environment.get("PATH", "")])
    if device.type == "cpu":
        environment |= {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return environment


def check_devices(wanted: int, device: torch.device) -> None:
    """Whether there are as many GPUs as ``devices`` asks for; a CPU takes any number of processes.

    Raises:
        UserError: there are fewer.
    """
    if device.type == "cuda" and wanted > torch.cuda.device_count():
        raise UserError(f"devices={wanted} needs as many GPUs, but there are {torch.cuda.device_count()}; set fewer.")


@contextmanager
def aside(vlm: VLM) -> Iterator[torch.device]:
    """The model waits in main memory while ranks fill the GPUs; yields the device that it comes back to.

    4-bit weights stay: they cannot be moved.
    """
    device = vlm.model.device
    moves = device.type == "cuda" and not getattr(vlm.model, "is_quantized", False)
    if moves:
        vlm.model.to("cpu")
        torch.cuda.empty_cache()
    try:
        yield device
    finally:
        if moves:
            vlm.model.to(device)


def serve(arguments: list[str], work: Callable[[Path, int, int], None]) -> int:
    """A rank's whole life: do its share, and leave its peak memory, or the reason why it failed, in the folder.

    Args:
        arguments: of the command line, as `launched` gives them: the folder, the launch, the process that started it.
        work: takes the folder, this rank, and the number of ranks.

    Returns:
        The exit code; 1 if a user can mend what went wrong.
    """
    folder, launch = Path(arguments[0]), arguments[1]
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    error = folder / f"error-{launch}.txt"
    try:
        work(folder, rank, ranks)
    except UserError as problem:
        _report(error, str(problem))
        return 1
    except Exception:
        lines = traceback.format_exc().splitlines()[-TAIL:]
        _report(error, "\n".join([f"Worker {rank} of {folder} failed; the end of its output:", *lines]))
        raise
    (folder / f"peak-{launch}-{rank}").write_text(used())
    return 0


def on_this_rank(model: Mapping[str, object]) -> dict[str, object]:
    """A model's configuration, with the GPU of this rank in it where the model is to be on one."""
    if not torch.cuda.is_available() or str(model.get("device", "auto")).startswith("cpu"):
        return dict(model)
    device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.cuda.set_device(device)  # or what names no device would take memory of the first one, on every rank
    return {**model, "device": device}


def forget_ranks() -> None:
    """From here on this process looks like one that was started alone.

    Libraries that read torchrun's variables (lmms-eval, lm-eval, accelerate) would wait for the other ranks.
    """
    for name in [name for name in os.environ if name in RANK_VARIABLES or name.startswith(TORCHRUN)]:
        del os.environ[name]


def _report(file: Path, message: str) -> None:
    """The first rank to fail says why; what the others then meet is only its consequence."""
    with suppress(FileExistsError), file.open("x") as error:
        error.write(message)


def _explain(error: Path, code: int, way_out: str) -> str:
    if error.exists():
        return error.read_text()
    log = error.parent / LOG
    output = log.read_text(errors="replace")
    if KILLED in output:
        return (
            f"A worker process was killed from outside, as Linux does when main memory runs out; use {way_out}, or "
            f"free some memory, and start the same command again: it continues from what is finished (all output is "
            f"in {log})."
        )
    return f"A worker process ended with code {code}; its last lines (all in {log}):\n" + "\n".join(
        output.splitlines()[-TAIL:]
    )
