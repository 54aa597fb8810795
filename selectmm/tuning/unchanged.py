"""A model that is lent to training and comes back as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Restore training modes, devices, dtypes, buffers, and which weights are trainable, after the block.

    Not the weights' values: a float32 copy of a bfloat16 weight comes back exact, a trained one does not.
    """
    modes = {module: module.training for module in model.modules()}
    weights = {weight: (weight.device, weight.dtype, weight.requires_grad) for weight in model.parameters()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
        for weight, (device, dtype, trainable) in weights.items():
            weight.data, weight.grad = weight.data.to(device, dtype), None
            if (state := getattr(weight, "quant_state", None)) is not None:  # 4-bit: its scales went along, in place
                state.to(device)
            weight.requires_grad_(trainable)
        for name, buffer in buffers.items():
            path, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(path), leaf, buffer)
