"""The operator that DeepSpeed compiles on first use, loaded so that a process killed meanwhile blocks no later one.

It is the AdamW that offload on a GPU takes. On a CPU nothing is compiled: that would take minutes, and training there
needs no such operator.

PyTorch guards an operator by a file named ``lock`` that is deleted at the end, also when there is nothing to compile. A
process that is killed in between leaves it, and every later one, of any run, would wait for ever without a word.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock

from selectmm.tuning.recipe import Strategy

LOCK = "selectmm.lock"  # a lock of the system's, which ends with its process


def load_operators(strategy: Strategy, device: torch.device) -> None:
    """Load what DeepSpeed will need, one process at a time; it then finds it loaded.

    Args:
        device: of the model.
    """
    if strategy.kind not in ("zero2", "zero3") or (device.type != "cpu" and not strategy.offload):
        return
    from deepspeed.accelerator import get_accelerator  # seconds, and only these strategies need it
    from deepspeed.ops import __compatible_ops__ as compatible

    if device.type == "cpu":
        # DeepSpeed compiles this as soon as it starts on a CPU, and calls it for inference alone.
        compatible["deepspeed_shm_comm"] = False
        return
    root = _extensions()
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / LOCK):
        builder = get_accelerator().create_op_builder("CPUAdamBuilder")
        if builder is not None and compatible.get(builder.NAME, False):
            free(root, builder.NAME)
            builder.load(verbose=False)


def free(root: Path, operator: str) -> None:
    """Delete the lock files of an operator that no process has open: their maker was killed.

    Args:
        root: PyTorch's folder of extensions; the caller holds `LOCK` in it, so that no other run of ours compiles.
    """
    for lock in root.rglob(f"{operator}/lock"):
        if lock.resolve() not in _open_files():
            lock.unlink(missing_ok=True)


def _extensions() -> Path:
    """Where PyTorch puts what it compiles."""
    from torch.utils.cpp_extension import get_default_build_root

    return Path(os.environ.get("TORCH_EXTENSIONS_DIR") or get_default_build_root())


def _open_files() -> set[Path]:
    """Every file that a process of this machine has open, as far as this user may see."""
    return {Path(file) for process in Path("/proc").glob("[0-9]*") for file in _open_in(process)}


def _open_in(process: Path) -> Iterator[str]:
    with suppress(OSError):  # it has ended, or is another user's
        for handle in os.scandir(process / "fd"):
            with suppress(OSError):
                yield os.readlink(handle.path)
