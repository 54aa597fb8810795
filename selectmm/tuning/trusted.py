"""Which checkpoints a run goes on from: its own, and reading one runs nothing."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from selectmm.errors import UserError

BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def check_own(checkpoint: Path) -> None:
    """Whether the user who runs this wrote everything in a checkpoint, and nobody else can write to it.

    What "own" means is asked of the disk, by a folder made beside the checkpoint: some network disks give all files to
    one user, and some keep no permissions, of which nothing can be said.

    Raises:
        UserError: naming what is another's or open to others.
    """
    with TemporaryDirectory(dir=checkpoint.parent, prefix=".checkpoint-owner-") as probe:
        mine = os.lstat(probe)
    mask = 0 if mine.st_mode & BY_OTHERS else BY_OTHERS
    closed = not os.lstat(checkpoint).st_mode & stat.S_IXOTH  # nobody reaches what is inside
    for path in [checkpoint, *checkpoint.rglob("*")]:
        found = os.lstat(path)
        inside = path != checkpoint and closed
        if found.st_uid != mine.st_uid or stat.S_ISLNK(found.st_mode) or (found.st_mode & mask and not inside):
            what = "is a link" if stat.S_ISLNK(found.st_mode) else "belongs to another user or can be written by others"
            raise UserError(
                f"The checkpoint {checkpoint} may not be this run's own: {path} {what}. Delete {checkpoint} to train "
                f"from the start, or, if you trust whoever wrote it, make it yours alone (chown, chmod -R go-w)."
            )


@contextmanager
def nothing_runs() -> Iterator[None]:
    """Let ``torch.load`` make only tensors, plain values and objects of `_classes` inside the block.

    DeepSpeed asks it for more (``weights_only=False``), and would run whatever a file names; PyTorch's own variable
    overrules that.
    """
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        with torch.serialization.safe_globals(list[Any](_classes())):
            yield
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before


def _classes() -> list[type]:
    """The classes of DeepSpeed's that its ZeRO checkpoints hold: they store numbers."""
    from deepspeed.runtime.fp16.loss_scaler import LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    return [LossScaler, ZeroStageEnum, fragment_address]
