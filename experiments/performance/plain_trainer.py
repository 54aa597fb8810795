"""The same training as one would first write it: Hugging Face's Trainer on a peft model."""

import math
import tempfile
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from experiments.performance.rows import Rows
from selectmm.models.encode import Batch
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.tuning.adapter import lora_config
from selectmm.tuning.data import MicroBatches
from selectmm.tuning.plan import lengths_of, plan
from selectmm.tuning.recipe import Recipe

from peft import get_peft_model  # isort: skip  (only once selectmm has let torchvision import)
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments  # isort: skip

Order = Literal["random", "sequential"]


def plain(rows: Rows, recipe: Recipe, seed: int, order: Order, own_loss: bool = True) -> Callable[[], np.ndarray]:
    """The Trainer over the recipe's steps; returns the loss of every step.

    Optimiser, rates, LoRA and its first weights, precision and
    tokens are the recipe's; a batch without images gets a blank one, as ours does, so that the projector always takes
    part.

    Args:
        order: ``random``, the Trainer's default, or ``sequential`` over ours, which trains on the very same batches.
        own_loss: the loss that the model computes by itself, with logits of every token; otherwise with those of the
            answer tokens alone, which leaves what batches and the Trainer are worth.
    """
    vlm, pool = rows.open_model(), rows.open_pool()
    steps = recipe.steps(len(pool), len(pool))
    planned = plan(pool.image_of >= 0, lengths_of(pool, np.arange(len(pool))), recipe.batch_size, steps, seed)
    given = planned.ravel() if order == "sequential" else np.arange(len(pool))

    def run() -> np.ndarray:
        torch.manual_seed(seed)  # as ours does before peft draws
        wrapped = get_peft_model(vlm.model, lora_config(vlm, recipe))
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                wrapped,
                _arguments(recipe, steps, seed, order, folder),
                train_dataset=[{"row": int(row)} for row in given],
                data_collator=lambda chosen: _collate(vlm, pool, recipe, [item["row"] for item in chosen]),
                optimizers=(_optimizer(wrapped, vlm.family.projector, recipe), None),
                callbacks=[losses := _Losses()],
            )
            trainer.remove_callback(PrinterCallback)
            if not own_loss:
                trainer.compute_loss = lambda model, inputs, **_: answer_loss(model.get_base_model(), inputs)
            trainer.train()
        return np.array(losses.seen)

    return run


def _collate(vlm: VLM, pool: Pool, recipe: Recipe, rows: list[int]) -> Batch:
    inputs = MicroBatches(vlm, pool, np.array([rows]), recipe.max_length, recipe.projector_lr > 0, False)[0].inputs
    return {name: tensor for name, tensor in inputs.items() if name != "instruction"}


def _arguments(recipe: Recipe, steps: int, seed: int, order: Order, folder: str) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        max_steps=steps,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=recipe.batch_size // recipe.micro_batch,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(recipe.warmup * steps),
        max_grad_norm=recipe.clip,
        train_sampling_strategy=order,
        remove_unused_columns=False,
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        save_strategy="no",
        seed=seed,
    )


def _optimizer(wrapped: torch.nn.Module, projector: str, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW with the recipe's two rates."""
    trained = {name: weight for name, weight in wrapped.named_parameters() if weight.requires_grad}
    parts = [
        {"params": [w for name, w in trained.items() if (f"{projector}." in name) == inside], "lr": lr}
        for inside, lr in ((False, recipe.lr), (True, recipe.projector_lr))
    ]
    return torch.optim.AdamW([part for part in parts if part["params"]], weight_decay=recipe.weight_decay)


class _Losses(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, args: object, state: object, control: object, logs: dict[str, float], **others: object) -> None:
        if "loss" in logs:
            self.seen.append(logs["loss"])
