"""The fine-tuning recipe and the strategy it runs under."""

from dataclasses import dataclass
from typing import Literal

from selectmm.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, the same for every method of an experiment.

    Attributes:
        length: ``epochs`` trains ``epochs`` passes over the *subset*; ``steps`` trains as many steps as ``epochs``
            passes over the *whole pool* would take, whatever the subset's size. Under ``epochs`` more data also means
            longer training; under ``steps`` the cost is equal and only the rows differ.
        epochs: see ``length``.
        batch_size: rows per optimiser step over all devices.
        micro_batch: rows per forward pass on one device; batch_size is a multiple of micro_batch × devices.
        lr, projector_lr: peak rates of the LoRA weights and of the projector (0 keeps the projector frozen).
        warmup: share of the steps with a linear rise; cosine to zero afterwards.
        clip: gradient norm limit (0: none).
        max_length: tokens per row; longer rows are cut (and counted).
        packing: a micro-batch's rows stand one behind the other in one sequence, without padding and without seeing
            each other; otherwise they are padded to the longest. The loss is the same, see `selectmm.models.pack`.
        precision: a Lightning precision, ``32-true`` or ``bf16-mixed`` or ``bf16-true``.
        checkpoint_every: optimiser steps between resumable checkpoints.
    """

    name: str
    length: Literal["epochs", "steps"]
    epochs: float
    batch_size: int
    micro_batch: int
    rank: int
    alpha: int
    dropout: float
    lr: float
    projector_lr: float
    weight_decay: float
    warmup: float
    clip: float
    max_length: int
    packing: bool
    precision: str
    gradient_checkpointing: bool
    checkpoint_every: int

    def steps(self, pool_rows: int, subset_rows: int) -> int:
        """Optimiser steps for a subset of a pool, at least one."""
        rows = subset_rows if self.length == "epochs" else pool_rows
        return max(1, round(self.epochs * rows / self.batch_size))


@dataclass(frozen=True)
class Strategy:
    """How the same recipe is spread over devices.

    Attributes:
        kind: ``single``, ``ddp``, ``zero2`` or ``zero3`` (DeepSpeed).
        devices: processes on this machine, one device each.
    """

    kind: Literal["single", "ddp", "zero2", "zero3"]
    devices: int

    def __post_init__(self) -> None:
        if self.devices < 1 or (self.kind == "single" and self.devices != 1):
            raise UserError(f"Strategy '{self.kind}' cannot run on {self.devices} devices; set strategy.devices.")
