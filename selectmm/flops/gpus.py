"""What a device can do: a table of GPUs from NVIDIA's data sheets, and this machine's own processor, measured."""

import math
import os
import time
from dataclasses import dataclass, replace
from functools import cache

import torch

from selectmm.errors import UserError

UTILISATION = 0.4  # share of the peak that work is assumed to reach; --utilisation sets another
STREAMED = 0.6  # share of the memory's bandwidth that generation is assumed to reach
LAUNCH = 8e-4  # seconds a layer: PyTorch starts the kernels of a generated token one by one, an assumption
SIDE, REPEATS = 512, 100  # of the products that a processor is measured with: short ones find it undisturbed


@dataclass(frozen=True)
class Gpu:
    """A device.

    Attributes:
        name: as it is asked for.
        bf16, fp32: peak dense FLOP/s; bfloat16 on tensor cores with float32 accumulation, float32 without TF32.
        memory: bytes. bandwidth: of that memory, bytes/s; infinite where it is not looked at.
        launch: seconds that a decoder layer takes to be started when one token after the other is generated; an
            assumption. 0 where it is not looked at.
        source: where the figures are from.
        shown: the name that CUDA gives the device, without the maker's. Other variants, of another speed, add to it,
            and so does a part of a device (MIG).
    """

    name: str
    bf16: float
    fp32: float
    memory: float
    source: str
    shown: str = ""
    bandwidth: float = math.inf
    launch: float = 0.0

    def peak(self, precision: str) -> float:
        """FLOP/s for one of the recipe's precisions."""
        return self.fp32 if precision == "32-true" else self.bf16


def _gpu(name: str, bf16: float, fp32: float, gib: float, gbs: float, source: str, shown: str) -> Gpu:
    return Gpu(name, bf16 * 1e12, fp32 * 1e12, gib * 2**30, source, shown, gbs * 1e9, LAUNCH)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("a100-40", 312, 19.5, 40, 1555, "NVIDIA A100 data sheet", "A100-SXM4-40GB"),
        _gpu("a100-80", 312, 19.5, 80, 2039, "NVIDIA A100 data sheet", "A100-SXM4-80GB"),
        _gpu("h100", 989.4, 66.9, 80, 3350, "NVIDIA H100 data sheet, SXM5", "H100 80GB HBM3"),
        _gpu("h200", 989.4, 66.9, 141, 4800, "NVIDIA H200 data sheet, SXM", "H200"),
        _gpu("l40s", 362, 91.6, 48, 864, "NVIDIA L40S data sheet", "L40S"),
        _gpu("a6000", 154.8, 38.7, 48, 768, "NVIDIA Ampere GA102 whitepaper, RTX A6000", "RTX A6000"),
        _gpu("3090", 71, 35.6, 24, 936, "NVIDIA Ampere GA102 whitepaper, GeForce RTX 3090", "GeForce RTX 3090"),
        _gpu("4090", 165.2, 82.6, 24, 1008, "NVIDIA Ada whitepaper, GeForce RTX 4090", "GeForce RTX 4090"),
    )
}


def gpu_of(name: str) -> Gpu:
    """The device of that name; ``cpu`` is this machine's, ``here`` what a run on this machine would use.

    Raises:
        UserError: it is not in the table; the sentence lists those that are.
    """
    if name == "here":
        return _this_gpu() if torch.cuda.is_available() else _cpu()
    if name == "cpu":
        return _cpu()
    if name not in GPUS:
        raise UserError(f"There is no GPU {name} in the table; there are: {', '.join([*GPUS, 'cpu', 'here'])}.")
    return GPUS[name]


def recognised(shown: str) -> Gpu | None:
    """The entry for a device as CUDA names it; None if there is none."""
    name = shown.removeprefix("NVIDIA ")  # which older drivers leave out
    return next((gpu for gpu in GPUS.values() if gpu.shown == name), None)


def _this_gpu() -> Gpu:
    """The entry for this machine's first GPU, with the memory that it has.

    Raises:
        UserError: there is none.
    """
    shown = torch.cuda.get_device_name()
    gpu = recognised(shown)
    if gpu is None:
        raise UserError(f"This machine's {shown} is not in the table; name the nearest of: {', '.join(GPUS)}.")
    return replace(gpu, memory=torch.cuda.get_device_properties().total_memory)


@cache
def _cpu() -> Gpu:
    """This machine's processor: the best of several products of two float32 matrices, after one to warm up."""
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    seconds = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - start)
    speed = 2 * SIDE**3 / min(seconds[1:])
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    threads = torch.get_num_threads()
    source = f"measured here: float32 product of two {SIDE} × {SIDE} matrices on {threads} threads, best of {REPEATS}"
    return Gpu("cpu", speed, speed, memory, source)
