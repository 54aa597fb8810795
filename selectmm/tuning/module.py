"""One training step under Lightning: the loss, the optimiser and its rate."""

import math
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from peft import PeftModel
from torch.optim.lr_scheduler import LambdaLR

from selectmm.models.losses import answer_loss, weighted_loss
from selectmm.models.vlm import Family
from selectmm.tuning.data import COUNTS, MicroBatch
from selectmm.tuning.full import FullModel
from selectmm.tuning.recipe import Recipe


def rate(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate at ``step`` (from 0): a linear rise over ``warmup`` of the steps, then a cosine to 0.

    As transformers' ``get_cosine_schedule_with_warmup`` with ``ceil(warmup · steps)`` warm-up steps.
    """
    rise = math.ceil(warmup * steps)
    if step < rise:
        return step / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


class Tuning(pl.LightningModule):
    """Trains what is trainable.

    The loss of a micro-batch is the mean over its answer tokens; a step's gradient is the mean over its micro-batches
    on all devices (Hugging Face's convention, which DDP implies), so a token counts more where answers are short. Where
    several devices share a micro-batch, the mean is still over the whole of it.

    Args:
        wrapped: the model with LoRA inside, or with its own weights trainable.
        family: says where projector and vision tower are, whose weights have rates of their own.
        steps: optimiser steps of the whole run.
        done: optimiser steps that were taken before this process began.
        seed: what dropout is drawn from.
        offload: whether the optimiser works in main memory beside a GPU, as DeepSpeed's own AdamW.

    Attributes:
        at: the step that is taken (from 1) and the shape of its micro-batch, (rows, tokens).
        gradient_norm: of the last step, before it was clipped; None under DeepSpeed, whose engine has it.
    """

    def __init__(
        self,
        wrapped: PeftModel | FullModel,
        recipe: Recipe,
        family: Family,
        *,
        steps: int,
        done: int,
        seed: int,
        offload: bool,
    ) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.recipe, self.steps, self.done = recipe, steps, done
        self._family, self._seed, self._offload = family, seed, offload
        self.at: tuple[int, tuple[int, ...]] = (done + 1, (0, 0))
        self.gradient_norm: float | None = None

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The trainable parameters by their names in the wrapped model."""
        return {name: weight for name, weight in self.wrapped.named_parameters() if weight.requires_grad}

    def rate_of(self, step: int) -> float:
        """The rate of the language model at ``step`` (from 0)."""
        return self.recipe.lr * rate(step, self.steps, self.recipe.warmup)

    def training_step(self, batch: MicroBatch, batch_idx: int) -> dict[str, torch.Tensor | None]:
        """The loss of one micro-batch: ``answer_loss``, and as ``loss`` in the scale that Lightning wants it in.

        ``row_losses`` are each row's own, [rows], where rows have weights.
        """
        accumulate = self.trainer.accumulate_grad_batches
        step, micro = divmod(batch_idx, accumulate)
        self.at = (self.done + step + 1, tuple(batch.inputs["input_ids"].shape))
        # Dropout is drawn from the micro-batch's place in the plan: a resumed run, or one on more devices, draws alike.
        place = [self._seed, 1, self.done + step, micro * self.trainer.world_size + self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(place).generate_state(1)[0]))
        model, row_losses = self.wrapped.get_base_model(), None
        if batch.weights is None:
            loss = answer_loss(model, batch.inputs)
        else:
            weights = torch.tensor(batch.weights, dtype=torch.float32, device=batch.inputs["input_ids"].device)
            loss, row_losses = weighted_loss(model, batch.inputs, weights)
        loss = loss * self._share(batch.counts[COUNTS.index("answer_tokens")])
        # Lightning divides by the number of micro-batches and then DeepSpeed does so again.
        twice = accumulate if self.trainer.strategy.handles_gradient_accumulation else 1
        return {"loss": loss * twice, "answer_loss": loss.detach(), "row_losses": row_losses}

    def _share(self, answers: int) -> torch.Tensor | float:
        """What the loss is multiplied by where devices share a micro-batch, so that all of it has one denominator.

        Args:
            answers: answer tokens of this device's part.
        """
        parts = self.recipe.micro_batch // self.recipe.rows_at_once(self.trainer.world_size)
        if parts == 1:
            return 1.0
        # Parts lie on neighbouring ranks (`share_of`), and their number divides that of the ranks.
        first = self.global_rank // parts * parts
        each = cast(torch.Tensor, self.all_gather(torch.tensor(float(answers), device=self.device)))
        return parts * answers / each[first : first + parts].sum().clamp(min=1)

    def configure_optimizers(self) -> Any:
        """AdamW; biases are not decayed (Hugging Face's convention)."""
        groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
        for name, weight in self.trained().items():
            peak = self._peak_of(name)
            decay = self.recipe.weight_decay if weight.ndim > 1 else 0.0
            groups.setdefault((peak, decay), []).append(weight)
        parts = [{"params": weights, "lr": peak, "weight_decay": decay} for (peak, decay), weights in groups.items()]
        if self._offload:
            from deepspeed.ops.adam import DeepSpeedCPUAdam  # here, because it is slow to import, and compiles

            optimizer: torch.optim.Optimizer = DeepSpeedCPUAdam(parts)  # decoupled decay is its default
        else:
            optimizer = torch.optim.AdamW(parts)
        schedule = LambdaLR(optimizer, lambda step: rate(self.done + step, self.steps, self.recipe.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lightning calls it once a step, before it clips."""
        gradients = [weight.grad for weight in self.trained().values() if weight.grad is not None]
        whole = gradients and not self.trainer.strategy.handles_gradient_accumulation  # else DeepSpeed shared them out
        self.gradient_norm = float(torch.nn.utils.get_total_norm(gradients)) if whole else None

    def _peak_of(self, name: str) -> float:
        """The peak rate of a weight. The projector comes first: Qwen-VL's lies inside its vision tower."""
        if f"{self._family.projector}." in name:
            return self.recipe.projector_lr
        return self.recipe.vision_lr if f"{self._family.vision}." in name else self.recipe.lr
