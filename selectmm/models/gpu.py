"""A full-scale run needs a GPU: if torch sees none, say why before anything is computed on the CPU instead."""

import os
import re
from pathlib import Path

import torch

from selectmm.errors import UserError

DRIVER = Path("/proc/driver/nvidia/version")  # written by the driver while it is loaded
NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"  # read by torch at each `is_available`; the command line sets it
OLDEST = {"13": 580, "12": 525}  # driver that a CUDA version needs at least (NVIDIA, "CUDA Compatibility")


def check_gpu(scale: str, device: str) -> None:
    """Refuse to run a full-scale setting on the CPU unless that was asked for, and any on a GPU that cannot be used.

    Called once a job has its own GPUs, because it starts CUDA.

    Args:
        scale: of the experiment, ``full`` or ``embedded``.
        device: ``model.device`` as it was given; ``auto`` takes a GPU if torch sees one.

    Raises:
        UserError: torch sees no GPU; the sentence names the driver, the build of torch, and what to install.
    """
    if device != "auto" or _cuda_starts():
        return
    if scale == "full":
        raise UserError(
            f"This setting needs a GPU, and torch sees none: {why_no_gpu()}. To run on the CPU anyway, set "
            f"model.device=cpu."
        )
    if torch.cuda.is_available():
        raise UserError(
            f"Torch cannot use this machine's GPU: {why_no_gpu()}. To run on the CPU, set model.device=cpu."
        )


def _cuda_starts() -> bool:
    """Whether torch sees a GPU that it can use: with NVML asked in place of CUDA, any driver would do."""
    asked = os.environ.pop(NVML_CHECK, None)
    try:
        return torch.cuda.is_available()
    finally:
        if asked is not None:
            os.environ[NVML_CHECK] = asked


def why_no_gpu() -> str:
    """Why torch sees no GPU, and what to do about it, as the end of a sentence."""
    driver, cuda = driver_version(), torch.version.cuda
    build = f"torch {torch.__version__}"
    if driver is None:
        return "no NVIDIA driver is loaded on this machine"
    if cuda is None:
        return f"{build} is a CPU build, and this machine has NVIDIA driver {driver}; install a CUDA build of torch"
    oldest = OLDEST.get(cuda.partition(".")[0])
    if oldest is not None and int(driver.partition(".")[0]) < oldest:
        return (
            f"{build} is built for CUDA {cuda}, which needs NVIDIA driver {oldest} or newer, and this machine has "
            f"{driver}; update the driver, or install torch from an index for an older CUDA "
            f"(selectmm/commands/README.md says how)"
        )
    return (
        f"{build} is built for CUDA {cuda}, and NVIDIA driver {driver} is new enough; look at nvidia-smi and "
        f"CUDA_VISIBLE_DEVICES"
    )


def driver_version() -> str | None:
    """The version of the NVIDIA driver that is loaded; None if there is none."""
    try:
        found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]*\d)", DRIVER.read_text())
    except OSError:
        return None
    return found[1] if found else None
