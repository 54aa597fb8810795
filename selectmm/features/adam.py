"""The step that Adam would take on every row's gradient, projected (LESS's representation of a training row)."""

from dataclasses import dataclass
from typing import Literal

import torch

from selectmm.errors import UserError
from selectmm.features.feature import Seen
from selectmm.features.gradients import Scope, lora_linears, row_gradients, sketch
from selectmm.models.forward import Reads
from selectmm.tuning.snapshots import read_moments

DECAY = 0.9, 0.999  # of Adam's two moments
EPSILON = 1e-8


@dataclass(frozen=True)
class AdamGradient:
    """The norm of a row's Adam step, and the step under a random projection to ``dim`` numbers; [rows, 1 + dim].

    With g the gradient of a row's mean answer loss and m, v the moments that the training had at this point: m' = 0.9 m
    + 0.1 g, v' = 0.999 v + 0.001 g², and the step is m' / √(v' + 1e-8): ε stands inside the root, and nothing is
    corrected for the moments' beginning at zero, as in LESS's released code (arXiv 2402.04333). Projected like
    `ProjectedGradient`, with the same signs, so that inner products of the two mean something. A row without an answer
    token has zeros. One backward pass of its own; 4 · (1 + dim) bytes a row, 22 GB for LLaVA-665K at 8,192, for each
    point of the training; the moments take eight bytes for every LoRA weight of device memory.
    """

    dim: int = 8192
    seed: int = 0
    scope: Scope = "all_linear"
    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """Nothing beforehand: it makes its own pass, with gradients."""
        return Reads()

    def compute(self, seen: Seen) -> torch.Tensor:
        """The norm of each row's step and its projection, [n, 1 + dim].

        Raises:
            UserError: the model carries no adapter with moments.
        """
        if seen.vlm.adapter is None:
            raise UserError("Adam's step needs a warm-up that keeps moments; the method has to ask for snapshots.")
        sums = torch.zeros(len(seen), 1 + self.dim, device=seen.tokens.device)
        names = list(lora_linears(seen.vlm, self.scope))
        moments = read_moments(seen.vlm.adapter, seen.tokens.device, names)

        def add(name: str, gradient: torch.Tensor) -> None:
            step = adam_step(gradient, *moments[name])
            sums[:, 0] += step.square().sum((1, 2))
            sums[:, 1:] += sketch(step, self.dim, f"{self.seed}/{name}")

        row_gradients(seen, self.scope, add)
        sums[:, 0].sqrt_()
        return sums * seen.answer_tokens[:, 1:].any(1, keepdim=True)


def adam_step(gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """m' / √(v' + ε) of gradients [n, out, in], given the two moments [out, in]."""
    mean = torch.lerp(gradient, first, DECAY[0])
    square = gradient.square().lerp_(second, DECAY[1])
    return mean / square.add_(EPSILON).sqrt_()
