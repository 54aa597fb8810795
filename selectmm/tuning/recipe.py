"""The fine-tuning recipe and the strategy it runs under."""

from dataclasses import asdict, dataclass
from math import gcd, inf
from typing import Any, Literal

from selectmm.errors import UserError

HIGHEST = 10**6  # of rank and alpha


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is learned, the same for every method of an experiment.

    Common to all recipes: AdamW with PyTorch's and Hugging Face's β (0.9, 0.999) and ε (1e-8), a linear rise of the
    rates and then a cosine to zero, and batches of rows that all have an image or all have none and are of like length.

    Attributes:
        length: ``epochs`` trains ``epochs`` passes over the *subset*; ``steps`` trains as many steps as ``epochs``
            passes over the *whole pool* would take, whatever the subset's size. Under ``epochs`` more data also means
            longer training; under ``steps`` the cost is equal and only the rows differ.
        epochs: see ``length``.
        batch_size: rows per optimiser step over all devices.
        micro_batch: rows over whose answer tokens the loss is a mean, in one forward pass on one device; batch_size is
            a multiple of it. Where devices are too many for that, several share a micro-batch, see `rows_at_once`.
        tune: of the language model, ``lora``: low-rank matrices beside its linear layers, or ``full``: all its weights,
            embeddings and head included. The projector is then trained in full or not at all, the tower not at all.
        rank, alpha, dropout: of LoRA, wherever it is; 0 where it is nowhere.
        lora_layers: of the language model, ``all`` linear layers or those of its ``attention``.
        projector: ``full`` or ``lora``, if ``projector_lr`` is not 0.
        lr: peak rate of the language model.
        projector_lr: peak rate of the projector (0 keeps it frozen).
        vision_lr: peak rate of LoRA on all linear layers of the vision tower (0: no LoRA there, the tower is frozen).
        warmup: share of the steps with a linear rise; cosine to zero afterwards.
        clip: gradient norm limit (0: none).
        max_length: tokens per row; longer rows are cut (and counted).
        packing: a micro-batch's rows stand one behind the other in one sequence, without padding and without seeing
            each other; otherwise they are padded to the longest. The loss is the same, see `selectmm.models.pack`.
        precision: ``32-true``; ``bf16-mixed``, where the trained weights are in float32; or ``bf16-true``, where all
            weights are in bfloat16.
        checkpoint_every: optimiser steps between resumable checkpoints.
    """

    name: str
    length: Literal["epochs", "steps"]
    epochs: float
    batch_size: int
    micro_batch: int
    tune: Literal["lora", "full"]
    rank: int
    alpha: int
    dropout: float
    lora_layers: Literal["all", "attention"]
    projector: Literal["full", "lora"]
    lr: float
    projector_lr: float
    vision_lr: float
    weight_decay: float
    warmup: float
    clip: float
    max_length: int
    packing: bool
    precision: str
    gradient_checkpointing: bool
    checkpoint_every: int

    def __post_init__(self) -> None:
        """Raises a `UserError` if a number is out of its range or words contradict one another (`selectmm.instantiate`
        checks the types)."""
        if self.tune == "lora" and self.rank == 0:
            raise UserError("recipe.tune=lora needs a rank; set recipe.rank, or recipe.tune=full.")
        for name, fits, range_ in (
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("micro_batch", self.micro_batch >= 1, "1 or more"),
            ("rank", 0 <= self.rank <= HIGHEST, f"a number from 1 to {HIGHEST:,} (0 where there is no LoRA)"),
            ("alpha", self.tune == "full" or 1 <= self.alpha <= HIGHEST, f"a number from 1 to {HIGHEST:,}"),
            ("epochs", 0 < self.epochs < inf, "a number above 0"),
            ("dropout", 0 <= self.dropout < 1, "0 or more, and below 1"),
            ("lr", 0 <= self.lr < inf, "a number above 0"),
            ("projector_lr", 0 <= self.projector_lr < inf, "a number above 0, or 0 to keep the projector as it is"),
            ("vision_lr", 0 <= self.vision_lr < inf, "a number above 0, or 0 to keep the vision tower as it is"),
            ("weight_decay", 0 <= self.weight_decay < inf, "0 or more"),
            ("clip", 0 <= self.clip < inf, "a number above 0, or 0 for no limit"),
            ("max_length", self.max_length >= 1, "1 or more tokens"),
            ("warmup", 0 <= self.warmup <= 1, "a share of the steps, from 0 to 1"),
        ):
            if not fits:  # so that a number that is none, which is in no range, is refused too
                raise UserError(f"recipe.{name}={getattr(self, name)} is out of range; set it to {range_}.")
        if not (self.lr or self.projector_lr or self.vision_lr):
            raise UserError("recipe.lr=0 trains nothing, with the other rates at 0; set it to a number above 0.")
        if self.tune == "full" and (self.projector == "lora" or self.vision_lr != 0):
            raise UserError(
                "recipe.tune=full trains weights themselves and has no LoRA beside them; set recipe.projector=full and "
                "recipe.vision_lr=0, or recipe.tune=lora."
            )

    @property
    def images_teach(self) -> bool:
        """Whether anything that an image passes through before the language model is trained."""
        return self.projector_lr > 0 or self.vision_lr > 0

    def learned(self) -> dict[str, Any]:
        """The values that, with the rows and the number of steps, decide what is learned.

        How often checkpoints are written decides nothing: a run may go on with another number.
        """
        apart = {"name", "length", "epochs", "checkpoint_every"}
        exact = {"buffers": "float32"} if self.precision == "bf16-true" else {}  # earlier versions rounded them
        return {key: value for key, value in asdict(self).items() if key not in apart} | exact

    def rows_at_once(self, devices: int) -> int:
        """Rows per forward pass on each of so many devices, which share a batch equally.

        It is a micro-batch or, where that is too large, the largest equal part of one: its loss can still be counted
        over the whole micro-batch (`selectmm.tuning.module`), so that the number of devices does not change it.
        """
        return gcd(self.micro_batch, self.batch_size // devices)

    def steps(self, pool_rows: int, subset_rows: int) -> int:
        """Optimiser steps for a subset of a pool, at least one."""
        rows = subset_rows if self.length == "epochs" else pool_rows
        return max(1, round(self.epochs * rows / self.batch_size))


@dataclass(frozen=True)
class Strategy:
    """How the same recipe is spread over devices.

    Attributes:
        kind: ``single``, ``ddp``, ``zero2`` or ``zero3`` (DeepSpeed).
        devices: processes that train together, one device each (a run takes them from the key ``devices``).
        offload: keep what DeepSpeed spreads in main memory: the optimiser and its state, under ``zero3`` the parameters
            as well. It saves device memory and costs time.
    """

    kind: Literal["single", "ddp", "zero2", "zero3"]
    devices: int = 1
    offload: bool = False

    def learned(self) -> dict[str, Any]:
        """What names a result of it: the number of devices, which changes a result by rounding alone, stands as 1."""
        return {**asdict(self), "devices": 1}

    def __post_init__(self) -> None:
        if self.devices < 1 or (self.kind == "single" and self.devices != 1):
            raise UserError(f"Strategy '{self.kind}' cannot run on {self.devices} devices; set devices.")
        if self.offload and self.kind not in ("zero2", "zero3"):
            raise UserError(f"Only DeepSpeed offloads, strategy '{self.kind}' does not; use zero2_offload.")
