"""Gradients of every row's answer loss, for a whole batch at once, projected as they appear.

The loss of a batch is the sum of its rows' losses and rows do not see each other, so one backward pass holds every
row's gradient: for a linear layer it is Σ_tokens (output gradient) ⊗ (input). It is formed for one layer at a time,
[rows, out, in] of a LoRA matrix, measured, projected and forgotten; the full vector (134 million numbers for LLaVA-7B)
never exists.
"""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.autograd.function import FunctionCtx
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from selectmm.errors import UserError
from selectmm.features.feature import Seen
from selectmm.models.forward import Reads
from selectmm.models.losses import answer_states
from selectmm.models.vlm import VLM

HEAD_TOKENS = 128  # answer tokens whose logits are held: with 32,000 words of a vocabulary 16 MiB, three times

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
        squares = torch.zeros(len(seen), device=seen.tokens.device)

        def add(_name: str, gradient: torch.Tensor) -> None:
            squares.add_(gradient.square().sum((1, 2)))

        row_gradients(seen, self.scope, add)
        return squares.sqrt()


@dataclass(frozen=True)
class ProjectedGradient:
    """The norm of that gradient, and the gradient under a random projection to ``dim`` numbers; [rows, 1 + dim].

    Each matrix's gradient [out, in] is multiplied from its long side, and if its short side is above √dim from that as
    well, by ±1 entries over the square root of what is kept. The results of all matrices are added: an unbiased sketch
    of inner products, made of blocks that are never larger than one layer. (The authors project the concatenated vector
    by one ±1 matrix in a CUDA kernel; expectations are the same, and `tests/features/test_gradients.py` measures the
    error.)

    Attributes:
        dim: numbers per row. Of a LoRA matrix of rank r, c = min(r, ⌊√dim⌋) columns of ⌊dim / c⌋ numbers are kept;
            what is left over of dim stays 0.
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
        sums = torch.zeros(len(seen), 1 + self.dim, device=seen.tokens.device)

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
    linears = lora_linears(seen.vlm, scope)
    with torch.enable_grad(), ExitStack() as stack:
        for name, linear in linears.items():
            stack.callback(linear.register_forward_hook(partial(_follow, name, sink)).remove)
        if seen.tokens.device.type == "cuda":  # on a CPU memory suffices, and values stay as they were to the last bit
            stack.enter_context(_recomputed(seen.vlm.layers))
            stack.enter_context(_in_dtype_of(seen.vlm.model.dtype, lora_linears(seen.vlm, "all_linear").values()))
        states, targets, rows = answer_states(seen.vlm.model, seen.batch)
        weights = 1 / torch.bincount(rows, minlength=len(seen)).clamp(min=1)
        states.backward(_through_the_head(seen.vlm.model.lm_head, states.detach(), targets, weights[rows]))


def _through_the_head(
    head: nn.Module, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """The gradient of Σ weight · cross-entropy with respect to the ``states`` that the head reads, [m, width].

    Some tokens at a time: logits, their normalised form and their gradient are in memory together, in float32, and were
    most of what a batch of a small model took.
    """
    found = torch.empty_like(states)
    for some in range(0, len(states), HEAD_TOKENS):
        part = slice(some, some + HEAD_TOKENS)
        read = states[part].detach().requires_grad_()
        losses = cross_entropy(head(read).float(), targets[part], reduction="none")
        losses.backward(weights[part])
        found[part] = read.grad
    return found


def lora_linears(vlm: VLM, scope: Scope) -> dict[str, nn.Linear]:
    """The A and B matrices of the LoRA that the model carries, by name.

    Raises:
        UserError: it carries none in that scope.
    """
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


def _follow(name: str, sink: Sink, _linear: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> object:
    """Put `_Watched` behind a linear layer. Weights are frozen: the graph starts at the first of these outputs, and
    sums up no matrix."""
    return _Watched.apply(output.requires_grad_(True), inputs[0].detach(), partial(sink, name))


class _Watched(torch.autograd.Function):
    """A linear layer's output as it is; on the way back its input meets the output's gradient.

    The input is kept as autograd keeps tensors, so that it is let go and made again where activations are.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, output: torch.Tensor, given: torch.Tensor, sink: Callable[[torch.Tensor], None]
    ) -> torch.Tensor:
        ctx.save_for_backward(given)
        ctx.sink = sink
        return output.view_as(output)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (given,) = ctx.saved_tensors
        with torch.no_grad():
            ctx.sink(torch.bmm(gradient.float().transpose(1, 2), given.float()))
        return gradient, None, None


@contextmanager
def _recomputed(layers: Iterable[nn.Module]) -> Iterator[None]:
    """Decoder layers keep nothing but their input for the way back, and compute the rest again then.

    At 7B they would keep 195 KiB a token and layer, which is 6 MiB a token.
    """
    with ExitStack() as stack:
        for layer in layers:
            layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)
            stack.callback(delattr, layer, "forward")
        yield


@contextmanager
def _in_dtype_of(dtype: torch.dtype, linears: Iterable[nn.Module]) -> Iterator[None]:
    """LoRA's matrices in the model's own precision: in float32, as peft loads them, products miss the tensor cores."""
    weights = [(linear, linear.weight.data) for linear in linears]
    for linear, weight in weights:
        linear.weight.data = weight.to(dtype)
    try:
        yield
    finally:
        for linear, weight in weights:
            linear.weight.data = weight
