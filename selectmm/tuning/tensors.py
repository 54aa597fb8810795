"""Trained weights from a file that others may have made: safetensors alone, which holds numbers and no code."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from selectmm.errors import UserError

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file, on the CPU, by name.

    Raises:
        UserError: it is no such file, is cut off, or holds other than finite floating numbers.
    """
    try:
        tensors = load_file(file)
    except (SafetensorError, OSError, ValueError) as problem:
        raise UserError(
            f"{file} is not a whole safetensors file ({problem}); copy it again from where it was trained, or train "
            f"again."
        ) from problem
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise UserError(
                f"{file}: {name!a:.80} holds {tensor.dtype}, not {known}; no training by selectmm wrote it."
            )
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{file}: {name!a:.80} holds NaN or infinite numbers, so the training that wrote it diverged or the "
                f"file was changed; train again, with a lower recipe.lr."
            )
    return tensors
