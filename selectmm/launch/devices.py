"""The devices of a run: whether there are enough, and room on them for ranks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selectmm.errors import UserError
from selectmm.models.vlm import VLM


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
