"""The least that a benchmark can take on this machine: what has to be read and computed, at rates measured beside it.

A rate is measured in the same run, with the same number of threads, on the sizes of the benchmark: the fastest of a few
tries, because a floor must not be too high. Parts of a floor add up, since they need the same cores; what the disk
does at the same time stands beside them, and the longer of the two counts. Work that our code does and that the result
does not need (moving numbers in memory, Python itself, writing results) is in no floor: the factor above it shows it.
"""

import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from experiments.performance.disk import forget
from experiments.performance.sides import clock

BUFFER = 2**22  # bytes per read
MIB = 2**20
WITHOUT = {
    "mixed_rows": "No floor of its own: it measures what rows of other kinds take beside what all rows take, and the "
    "floor of that is under open_pool.",
    "large_pool": "No floor of its own: it measures that memory does not grow; the floor of reading and parsing is "
    "under open_pool.",
    "gpu_step": "The share of the GPU's peak, where one was measured, is the floor's share of the time.",
}
"""Benchmarks for which no floor is stated, and why."""


@dataclass(frozen=True)
class Part:
    """Something that has to be done.

    Attributes:
        what: in words, with the formula of the amount.
        amount, unit: how much of what. rate: how much of it this machine does in a second; of memory, what is a MiB.
    """

    what: str
    amount: float
    unit: str
    rate: float


@dataclass(frozen=True)
class Floor:
    """The least that something can take, and what it took.

    Attributes:
        of: what was measured, as its comparison calls it. measured: seconds, or MiB, that it took.
        parts: what has to be done, one after the other. beside: what the disk does at the same time.
        remark: what a reader has to know of it, a sentence.
    """

    of: str
    measured: float
    parts: tuple[Part, ...]
    beside: tuple[Part, ...] = ()
    unit: Literal["s", "MiB"] = "s"
    remark: str = ""

    @property
    def least(self) -> float:
        """Seconds, or MiB."""
        return max(sum(part.amount / part.rate for part in parts) for parts in (self.parts, self.beside))

    @property
    def times(self) -> float:
        """How far above it we are."""
        return self.measured / self.least

    def record(self) -> dict[str, object]:
        """For the benchmark's record."""
        return {**asdict(self), "least": self.least, "times": self.times}


def rate_of(action: Callable[[], object], amount: float, tries: int = 5) -> float:
    """How much is done in a second: the fastest of some tries, after one that is not counted."""
    action()
    taken = []
    for _ in range(tries):
        start = clock()
        action()
        taken.append(clock() - start)
    return amount / max(min(taken), 1e-9)


def reading(path: Path) -> float:
    """Bytes per second of a file that the disk cache holds, into one small buffer."""
    return rate_of(lambda: _read(path), path.stat().st_size, tries=3)


def cold_reading(path: Path) -> float:
    """Bytes per second of a file whose pages this machine's disk cache has dropped; waiting for the disk counts."""
    taken = []
    for _ in range(2):
        forget(path)
        start = time.perf_counter()
        _read(path)
        taken.append(time.perf_counter() - start)
    return path.stat().st_size / min(taken)


def to_single(width: int) -> float:
    """Numbers per second that are turned from half into single precision, 64 rows at a time in the core's cache."""
    half, single = torch.ones(64, width, dtype=torch.float16), torch.empty(64, width)
    return rate_of(lambda: [single.copy_(half) for _ in range(200)], 200 * 64 * width)


def products(rows: int, inner: int, columns: int, dtype: torch.dtype = torch.float32) -> float:
    """FLOP per second of PyTorch's matrix product [rows, inner] × [inner, columns], the weights stored as a layer's."""
    left, right = torch.ones(rows, inner, dtype=dtype), torch.ones(columns, inner, dtype=dtype)
    out = torch.empty(rows, columns, dtype=dtype)
    amount = 2.0 * rows * inner * columns
    times = max(1, round(2e9 / amount))
    return rate_of(lambda: [torch.mm(left, right.T, out=out) for _ in range(times)], times * amount)


def streaming() -> float:
    """Bytes per second of doubles that are read from memory and added up: 256 MiB."""
    values = np.ones(2**25)
    return rate_of(values.sum, values.nbytes)


def parsing(path: Path, size: int = 2**24) -> float:
    """Bytes per second of the first rows of a JSON list of objects, parsed by Python's `json`."""
    with path.open("rb") as stream:
        text = stream.read(size)
    whole = text if text.endswith(b"]") else text[: text.rindex(b"},") + 1] + b"]"
    return rate_of(lambda: json.loads(whole), len(whole), tries=3)


def hashing() -> float:
    """Bytes per second through SHA-256."""
    block = bytes(2**24)
    return rate_of(lambda: sha256(block).digest(), len(block))


def decoding(content: bytes) -> float:
    """Pixels per second of a picture that is in memory, decoded to RGB by Pillow."""
    pixels = _pixels(content)
    times = max(1, 2**20 // pixels)
    return rate_of(lambda: [_pixels(content) for _ in range(times)], times * pixels)


def _pixels(content: bytes) -> int:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    return image.width * image.height


def _read(path: Path) -> None:
    buffer = bytearray(BUFFER)
    with path.open("rb", buffering=0) as stream:
        while stream.readinto(buffer):
            pass
