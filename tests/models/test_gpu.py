"""A full-scale run without a GPU is refused, with the reason, and any run on a GPU that cannot be used."""

import os
from pathlib import Path

import pytest
import torch

from selectmm.errors import UserError
from selectmm.models import gpu
from selectmm.models.gpu import check_gpu

# The first lines of the file as NVIDIA's drivers write it: the proprietary modules, and the open ones.
PROPRIETARY = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder@U22)\n"


@pytest.mark.parametrize(
    ("driver", "cuda", "said"),
    [
        (None, "13.0", "no NVIDIA driver is loaded on this machine. To run on the CPU anyway, set model.device=cpu"),
        (PROPRIETARY, None, "is a CPU build, and this machine has NVIDIA driver 535.129.03; install a CUDA build"),
        (PROPRIETARY, "13.0", "for CUDA 13.0, which needs NVIDIA driver 580 or newer, and this machine has 535.129.03"),
        (PROPRIETARY, "12.6", "NVIDIA driver 535.129.03 is new enough; look at nvidia-smi and CUDA_VISIBLE_DEVICES"),
        (OPEN, "13.0", "NVIDIA driver 580.65.06 is new enough"),
        ("something else", "13.0", "no NVIDIA driver is loaded"),
    ],
)
def test_the_reason_names_the_driver_and_the_build_of_torch(
    driver: str | None, cuda: str | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "version"
    if driver is not None:
        file.write_text(driver)
    monkeypatch.setattr(gpu, "DRIVER", file)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^This setting needs a GPU, and torch sees none: ") as caught:
        check_gpu("full", "auto")
    assert said in str(caught.value)


def test_small_runs_gpus_and_who_asks_for_the_cpu_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    check_gpu("embedded", "auto")
    check_gpu("full", "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_gpu("full", "auto")


def test_a_gpu_that_only_nvml_sees_is_refused_at_every_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With too old a driver CUDA does not start, and NVML counts GPUs all the same."""
    file = tmp_path / "version"
    file.write_text(PROPRIETARY)
    monkeypatch.setattr(gpu, "DRIVER", file)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: os.getenv("PYTORCH_NVML_BASED_CUDA_CHECK") == "1")
    why = "needs NVIDIA driver 580 or newer, and this machine has 535.129.03"
    with pytest.raises(UserError, match=f"^This setting needs a GPU, and torch sees none: .* {why}"):
        check_gpu("full", "auto")
    with pytest.raises(UserError, match=f"^Torch cannot use this machine's GPU: .* {why}.*set model.device=cpu"):
        check_gpu("embedded", "auto")
    check_gpu("full", "cpu")
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"
