"""Says in one sentence that memory ran out, outside of training, which has a sentence of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.utils.memory import should_reduce_batch_size

from selectmm.errors import UserError


def ran_out(problem: Exception) -> bool:
    """Whether it says that a GPU's memory, or main memory, does not suffice."""
    return isinstance(problem, torch.OutOfMemoryError) or should_reduce_batch_size(problem)


@contextmanager
def enough_memory(doing: str, instead: str) -> Iterator[None]:
    """Turn "out of memory" inside the block into what can be done about it.

    Args:
        doing: what the block does, after "while". instead: the way out.

    Raises:
        UserError: a GPU's memory, or main memory, ran out.
    """
    try:
        yield
    except RuntimeError as problem:
        if not ran_out(problem):
            raise
        what = "The GPU's memory" if isinstance(problem, torch.OutOfMemoryError) else "Memory"
        raise UserError(f"{what} ran out while {doing}: {instead}.") from problem
