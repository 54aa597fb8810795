"""What to do when memory runs out, said in one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from selectmm.errors import UserError
from selectmm.tuning.module import Tuning


@contextmanager
def memory_explained(module: Tuning) -> Iterator[None]:
    """Turn "out of memory" inside the block into what can be done about it.

    Raises:
        UserError: memory ran out, on a GPU or in main memory; it names the step and the micro-batch.
    """
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as problem:
        if not isinstance(problem, torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(problem):
            raise
        step, (rows, tokens) = module.at
        at_once = module.recipe.rows_at_once(module.trainer.world_size)
        instead = "" if module.recipe.gradient_checkpointing else "recipe.gradient_checkpointing=true, "
        raise UserError(
            f"Memory ran out in step {step}, on a micro-batch of {rows} rows × {tokens} tokens ({rows * tokens:,}): "
            f"lower recipe.micro_batch (now {at_once}), or set {instead}strategy=zero3 on more "
            f"devices, or lower recipe.max_length (now {module.recipe.max_length}). All stages before this one, and "
            f"this one's last checkpoint, are kept."
        ) from problem
