"""When a GPU's memory runs out outside of training (which has a sentence of its own), said in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selectmm.errors import UserError


@contextmanager
def enough_memory(doing: str, instead: str) -> Iterator[None]:
    """Turn "out of memory" inside the block into what can be done about it.

    Args:
        doing: what the block does, after "while". instead: the way out.

    Raises:
        UserError: a GPU's memory ran out.
    """
    try:
        yield
    except torch.OutOfMemoryError as problem:
        raise UserError(f"The GPU's memory ran out while {doing}: {instead}.") from problem
