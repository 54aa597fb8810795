"""GPUs of this machine for one job of several that run side by side: each takes its own, by locks of the system.

Slurm and Ray hand GPUs out; joblib does not, and its jobs would all take the first one. A lock is named after the GPU's
UUID, because one job may name a GPU by its number and another by its UUID.
"""

import fcntl
import logging
import os
import re
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import IO

from selectmm.errors import UserError

log = logging.getLogger("selectmm")

VISIBLE = "CUDA_VISIBLE_DEVICES"
POLL = 1.0  # seconds between looks at whether a GPU is free
HOLDER = ".holder"  # a file beside a lock
LISTED = re.compile(r"^GPU (\d+): .*\(UUID: (GPU-[^)]+)\)", re.M)  # a line of nvidia-smi -L

_held: dict[str, IO[str]] = {}  # by GPU, until this process ends


def own_gpus(wanted: int) -> list[str]:
    """Take ``wanted`` GPUs, and let this process see no others; as many as it took before stay its own.

    Called before CUDA starts, because it reads once in a process which GPUs it may see. Waits as long as other jobs
    have them, and logs which processes those are.

    Raises:
        UserError: there are fewer at all, or this process took another number for an earlier job.
    """
    if _held and len(_held) != wanted:
        raise UserError(
            f"devices={wanted}, but this process has taken {len(_held)} for an earlier job, and CUDA sees no others "
            f"from then on; start a sweep for each number of devices."
        )
    if not _held:
        there = visible_gpus()
        if not there:  # a CPU serves any number of jobs
            return []
        check_enough(1, wanted, len(there))
        ids = _ids()
        folder = _own_folder()
        # A part of a GPU may be called MIG-GPU-…/1/0.
        locks = {name: folder / f"{_lock_of(name, ids).replace('/', '_')}.lock" for name in there}
        logged = False
        while busy := _take(locks, wanted):
            if not logged:
                log.info("  waiting   for GPUs of %s", _holders(busy))
                logged = True
            time.sleep(POLL)
        for name in _held:
            _sign(locks[name])
        os.environ[VISIBLE] = ",".join(_held)
    return list(_held)


def check_enough(jobs: int, wanted: int, there: int) -> None:
    """Whether ``there`` GPUs are enough for so many jobs at a time.

    Raises:
        UserError: they are not.
    """
    if there and jobs * wanted > there:
        at_once = "1 job" if jobs == 1 else f"{jobs} jobs at a time"
        each = "1 GPU" if wanted == 1 else f"{wanted} GPUs"
        raise UserError(
            f"{at_once} with {each} each, but there are {there}; set hydra.launcher.n_jobs or devices lower."
        )


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA takes; as for CUDA, -1 ends the list."""
    given = os.environ.get(VISIBLE)
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        return [name for name in takewhile(lambda name: name != "-1", names) if name]
    import torch  # seconds

    return [str(number) for number in range(torch.cuda.device_count())]  # asks the driver, starts no CUDA


def _ids() -> dict[str, str]:
    """UUIDs of this machine's GPUs by their numbers, as nvidia-smi has them; empty without it.

    CUDA numbers GPUs of several kinds by their speed, nvidia-smi by their places: there, two jobs of which one uses
    numbers and the other UUIDs could still meet.
    """
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True)
        return dict(LISTED.findall(listed.stdout))
    return {}


def _lock_of(name: str, ids: Mapping[str, str]) -> str:
    """What a GPU's lock is called: its UUID, of which CUDA takes the beginning too; else its name."""
    if name in ids:
        return ids[name]
    meant = [uuid for uuid in ids.values() if uuid.startswith(name)]
    return meant[0] if len(meant) == 1 else name


def _own_folder() -> Path:
    """Where the locks lie: a folder that only this user can write to, or others could hold them or put links there.

    Raises:
        UserError: others can write to it, or it is a link or another user's.
    """
    folder = Path(tempfile.gettempdir()) / f"selectmm-{os.getuid()}-gpus"
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"{folder}, where jobs lock the GPUs that they use, is not a folder that only you can write to; delete "
            f"it, or set TMPDIR to a folder of your own."
        )
    return folder


def _take(locks: Mapping[str, Path], wanted: int) -> list[Path]:
    """Lock ``wanted`` free GPUs, or none; returns the locks that other jobs have if too few are free.

    Args:
        locks: their files by the GPUs' names.
    """
    busy = []
    for name, lock in locks.items():
        if len(_held) == wanted:
            break
        file = lock.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            busy.append(lock)
            continue
        _held[name] = file
    if len(_held) == wanted:
        return []
    _give_back()  # or two jobs that want two GPUs each might wait for one another
    return busy


def _sign(lock: Path) -> None:
    """Write beside a lock which process has it; for a moment the last one's name is still there."""
    with suppress(OSError):  # a full disk, or a link that somebody put there
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(lock.with_suffix(HOLDER), flags, 0o600), "w") as file:
            file.write(f"process {os.getpid()} on {socket.gethostname()}")


def _holders(locks: Sequence[Path]) -> str:
    """The processes that have these locks, in words."""
    names = []
    for lock in locks:
        with suppress(OSError):
            names.append(lock.with_suffix(HOLDER).read_text())
    return " and ".join(dict.fromkeys(names)) or "another process"


def _give_back() -> None:
    for held in _held.values():
        held.close()
    _held.clear()
