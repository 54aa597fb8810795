"""Gradients of every row's answer loss, for a whole batch at once, projected as they appear.

The loss of a batch is the sum of its rows' losses and rows do not see each other, so one backward pass holds every
row's gradient: for a linear layer it is Σ_tokens (output gradient) ⊗ (input). It is formed for one layer at a time,
[rows, out, in] of a LoRA matrix, measured, projected and forgotten; the full vector (134 million numbers for LLaVA-7B)
never exists.
"""

import math
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.nn.functional import cross_entropy

from selectmm.errors import UserError
from selectmm.features.feature import Seen
from selectmm.models.forward import Reads, answer_logits
from selectmm.models.vlm import VLM

Scope = Literal["self_attn", "all_linear"]
Sink = Callable[[str, torch.Tensor], None]
"""Takes a matrix's name and its gradient for every row of a batch, [n, out, in]."""


@dataclass(frozen=True)
class GradientNorm:
    """‖g‖₂ of the mean answer loss with respect to the LoRA matrices; [rows].

    Plain gradients, no optimiser state, one checkpoint, as in TIVE's released code (arXiv 2403.09559). The model has to
    carry LoRA, which the warm-up of a method gives it.

    Attributes:
        scope: LoRA of the ``self_attn`` projections, or of ``all_linear`` layers that have it.
    """

    scope: Scope = "self_attn"
    view: Literal["conversation"] = "conversation"
    vector: Literal[False] = False

    def reads(self) -> Reads:
        """Nothing beforehand: it makes its own pass, with gradients."""
        return Reads()

    def compute(self, seen: Seen) -> torch.Tensor:
        """The norm of each row's gradient, [n]."""
        squares = torch.zeros(len(seen.conversations), device=seen.tokens.device)

        def add(_name: str, gradient: torch.Tensor) -> None:
            squares.add_(gradient.square().sum((1, 2)))

        row_gradients(seen, self.scope, add)
        return squares.sqrt()


@dataclass(frozen=True)
class ProjectedGradient:
    """The norm of that gradient, and the gradient under a random projection to ``dim`` numbers; [rows, 1 + dim].

    Each matrix's gradient [out, in] is multiplied from its long side by ±1/√k entries, [k, long], k = dim / short, and
    the results of all matrices are added: an unbiased sketch of inner products, made of blocks that are never larger
    than one layer. (The authors project the concatenated vector by one ±1 matrix in a CUDA kernel; expectations are the
    same, and `tests/features/test_gradients.py` measures the error.)

    Attributes:
        dim: numbers per row; a multiple of the LoRA rank, or the rank's side is projected as well.
        seed: of the projection.
    """

    dim: int = 8192
    seed: int = 0
    scope: Scope = "self_attn"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Nothing beforehand: it makes its own pass, with gradients."""
        return Reads()

    def compute(self, seen: Seen) -> torch.Tensor:
        """The norm of each row's gradient and its projection, [n, 1 + dim]."""
        sums = torch.zeros(len(seen.conversations), 1 + self.dim, device=seen.tokens.device)

        def add(name: str, gradient: torch.Tensor) -> None:
            sums[:, 0] += gradient.square().sum((1, 2))
            sums[:, 1:] += sketch(gradient, self.dim, f"{self.seed}/{name}")

        row_gradients(seen, self.scope, add)
        sums[:, 0].sqrt_()
        return sums


def sketch(gradients: torch.Tensor, dim: int, name: str) -> torch.Tensor:
    """Project [n, out, in] to [n, dim]; ``name`` seeds the signs, so that every matrix has its own."""
    if gradients.shape[1] > gradients.shape[2]:
        gradients = gradients.transpose(1, 2)
    short, long = gradients.shape[1:]
    keep = min(short, math.isqrt(dim))  # a rank above √dim is projected too, or no dimension would be left for the rest
    rows = dim // keep
    made = (gradients @ _signs(long, rows, name, gradients.device)).transpose(1, 2)  # the long side first: less is left
    if keep < short:
        made = made @ _signs(short, keep, f"{name}/short", gradients.device)
    return nn.functional.pad(made.flatten(1), (0, dim - rows * keep))


@lru_cache(maxsize=4096)
def _signs(size: int, kept: int, name: str, device: torch.device) -> torch.Tensor:
    """±1/√kept, [size, kept]; the same on every machine and device."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    signs = torch.randint(0, 2, (size, kept), generator=generator, dtype=torch.int8) * 2 - 1
    return (signs / math.sqrt(kept)).to(device)


def row_gradients(seen: Seen, scope: Scope, sink: Sink) -> None:
    """Hand every LoRA matrix's per-row gradients to ``sink`` while one backward pass goes by.

    A row's loss is the mean over its answer tokens; a row without any has a gradient of zero.

    Raises:
        UserError: the model carries no LoRA in that scope.
    """
    linears = _lora_linears(seen.vlm, scope)
    with torch.enable_grad(), ExitStack() as hooks:
        for name, linear in linears.items():
            hooks.callback(linear.register_forward_hook(partial(_follow, name, sink)).remove)
        logits, targets, rows = answer_logits(seen.vlm.model, seen.batch)
        losses = cross_entropy(logits.float(), targets, reduction="none")
        counts = torch.bincount(rows, minlength=len(seen.conversations)).clamp(min=1)
        (losses / counts[rows]).sum().backward()


def _lora_linears(vlm: VLM, scope: Scope) -> dict[str, nn.Linear]:
    found = {
        f"{name}.{part}": getattr(module, part)["default"]
        for name, module in vlm.model.named_modules()
        if isinstance(module, LoraLayer) and (scope == "all_linear" or ".self_attn." in f".{name}.")
        for part in ("lora_A", "lora_B")
    }
    if not found:
        raise UserError(
            f"Gradients are taken with respect to LoRA weights, but this {vlm.family.name} model carries none in the "
            f"scope '{scope}'; the method has to name a warm-up."
        )
    return found


def _follow(name: str, sink: Sink, _linear: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
    given = inputs[0].detach()
    output.requires_grad_(True)  # weights are frozen: the graph starts at the first of these, and sums up no matrix

    def hand_over(gradient: torch.Tensor) -> None:
        with torch.no_grad():
            sink(name, torch.bmm(gradient.float().transpose(1, 2), given.float()))

    output.register_hook(hand_over)
