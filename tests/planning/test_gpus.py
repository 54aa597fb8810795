"""The table of devices, and this machine's own."""

import pytest

from selectmm.errors import UserError
from selectmm.planning.gpus import GPUS, _recognised, gpu_of


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
    assert _recognised(shown).name == name


def test_a_device_that_is_not_in_the_table_is_said() -> None:
    with pytest.raises(UserError, match=r"This machine's Tesla T4 is not in the table; give --gpu with the nearest of"):
        _recognised("Tesla T4")


def test_every_entry_says_where_its_figures_are_from() -> None:
    assert all("NVIDIA" in gpu.source and gpu.bf16 > gpu.fp32 for gpu in GPUS.values())


def test_the_processor_is_measured_and_says_how() -> None:
    cpu = gpu_of("cpu")
    assert cpu.bf16 == cpu.fp32 and cpu.peak("32-true") > 1e8
    assert cpu.source.startswith("measured here: float32 product of two 512 × 512 matrices on 1 threads, best of 100")
