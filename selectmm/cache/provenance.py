"""Where a result comes from: the command, the code, the versions and the machine."""

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from selectmm.counted import counted

PACKAGES = (
    "selectmm", "torch", "transformers", "peft", "pytorch-lightning", "deepspeed", "lmms-eval", "lm-eval", "datasets",
    "hydra-core", "wandb", "numpy",
)  # fmt: skip

COMPUTING = frozenset(PACKAGES) - {"selectmm", "hydra-core", "wandb"}  # that a stage's result may depend on

CHECKOUT = Path(__file__).resolve().parents[2]
CODE = ("selectmm", "configs", "experiments")  # folders of a checkout whose files decide what runs
COMMAND = "SELECTMM_COMMAND"
"""Environment variable: the command as typed, for jobs that a launcher starts in processes of its own."""
SWEEP_NAME = "SELECTMM_SWEEP_NAME"
"""Environment variable: the same for all jobs of one sweep, and for no others."""


@dataclass(frozen=True)
class Hardware:
    """The machine: processor, usable cores, memory in GiB, the names of its GPUs.

    ``threads`` is how many of the cores a computation of this process uses at once (None in older records): costs of
    one thread and of two do not compare.
    """

    cpu: str
    cores: int
    memory_gib: float
    gpus: tuple[str, ...]
    threads: int | None = None

    def __str__(self) -> str:
        """The provenance in words, for a table."""
        threads = "" if self.threads is None else f", {self.threads} thread{'' if self.threads == 1 else 's'}"
        return " + ".join([f"{counted(self.cores, 'core')} of {self.cpu}{threads}", *self.gpus])


@dataclass(frozen=True)
class Provenance:
    """What somebody else needs to make the run again.

    Attributes:
        command: the command line, quoted for a shell.
        commit: full git hash of this package's checkout, or None outside of git.
        dirty: whether what could have run differs from the commit (see `git_state`); None outside of git.
        python: version of the interpreter. packages: versions by name; an absent package is ``not installed``.
    """

    command: str
    commit: str | None
    dirty: bool | None
    python: str
    packages: Mapping[str, str]
    hardware: Hardware


def provenance() -> Provenance:
    """The provenance of what the running process computes."""
    commit, dirty = git_state(Path(__file__).parent)
    packages = {name: version_of(name) for name in PACKAGES}
    command = os.environ.get(COMMAND) or command_line(sys.argv)
    return Provenance(command, commit, dirty, platform.python_version(), packages, hardware())


def command_line(argv: list[str]) -> str:
    """The command ``argv`` as it can be typed; a package's ``__main__.py`` reads ``python -m package`` again."""
    program = Path(argv[0])
    spec = sys.modules["__main__"].__spec__  # of `python -m package.module`; None for a script
    if spec is not None and program.stem != "__main__" and spec.name.endswith(f".{program.stem}"):
        return shlex.join(["python", "-m", spec.name, *argv[1:]])
    if program.name == "__main__.py":
        return shlex.join(["python", "-m", program.parent.name, *argv[1:]])
    if program.suffix == ".py":  # a script of this checkout, as it is typed from the checkout's folder
        inside = program.resolve().is_relative_to(CHECKOUT)
        return shlex.join(
            ["python", str(program.resolve().relative_to(CHECKOUT)) if inside else program.name, *argv[1:]]
        )
    return shlex.join([program.name, *argv[1:]])


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit of the checkout that holds ``folder`` and whether it was changed since; (None, None) without one.

    A file that git does not track counts where code and choices lie, in `CODE`: a new method is not in the commit.
    Elsewhere it does not, because results and caches appear while runs are made. A folder that git does not track (an
    installed copy inside some other project's checkout) has no commit.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or not _git(folder, "ls-files", "."):
        return None, None
    top = Path(str(_git(folder, "rev-parse", "--show-toplevel")))
    added = _git(top, "ls-files", "--others", "--exclude-standard", "--", *CODE)
    return commit, bool(added or _git(folder, "status", "--porcelain", "--untracked-files=no"))


def hardware() -> Hardware:
    """The hardware of this machine; cores and memory are what this process may use."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Hardware(_cpu(), cores, round(memory / 2**30, 1), _gpus(), _threads())


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@cache
def version_of(package: str) -> str:
    """The installed version of a package; an absent one is ``not installed``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return None if torch is None else torch.get_num_threads()


def _gpus() -> tuple[str, ...]:
    torch = sys.modules.get("torch")  # importing it only to find no GPU would cost seconds
    if torch is None or not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
