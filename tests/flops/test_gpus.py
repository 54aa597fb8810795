"""The table of devices, and this machine's own."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from selectmm.errors import UserError
from selectmm.flops.gpus import GPUS, gpu_of, recognised
from selectmm.tuning.work import peak_of


@pytest.mark.parametrize(
    ("shown", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100-80"),
        ("NVIDIA A100-SXM4-40GB", "a100-40"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "4090"),
        ("NVIDIA RTX A6000", "a6000"),
    ],
)
def test_a_device_is_recognised_by_the_name_that_cuda_gives_it(shown: str, name: str) -> None:
    assert recognised(shown).name == name


OTHERS = [
    "Tesla T4",
    "NVIDIA GH200 480GB",
    "NVIDIA H100 PCIe",
    "NVIDIA H100 NVL",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA H200 NVL",
    "NVIDIA GeForce RTX 3090 Ti",
    "NVIDIA GeForce RTX 4090 D",
]


@pytest.mark.parametrize("shown", OTHERS)
def test_another_device_or_a_part_of_one_is_not_taken_for_the_table_s(
    shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: shown)
    with pytest.raises(UserError, match=f"This machine's {shown} is not in the table; name the nearest of"):
        gpu_of("here")
    assert peak_of(torch.device("cuda"), "bf16-mixed") is None


def test_this_machine_s_gpu_has_the_memory_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(total_memory=150_000_000_000))
    assert gpu_of("here") == replace(GPUS["h200"], memory=150_000_000_000)
    assert peak_of(torch.device("cuda"), "bf16-mixed") == GPUS["h200"].bf16


def test_every_entry_says_where_its_figures_are_from() -> None:
    assert all("NVIDIA" in gpu.source and gpu.bf16 > gpu.fp32 for gpu in GPUS.values())


def test_the_processor_is_measured_and_says_how() -> None:
    cpu = gpu_of("cpu")
    assert cpu.bf16 == cpu.fp32 and cpu.peak("32-true") > 1e8
    assert cpu.source.startswith("measured here: float32 product of two 512 × 512 matrices on 1 threads, best of 100")
