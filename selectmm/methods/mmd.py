"""A few rows that stand for many: the greedy choice that keeps the maximum mean discrepancy to the whole smallest."""

import numpy as np
import torch

from selectmm.methods.clustering import Vectors

DIGITS = 12  # of the discrepancy; candidates that agree in so many are as good


def gaussian(vectors: Vectors, sigma: float) -> torch.Tensor:
    """κ_ij = exp(−‖x_i − x_j‖² / 2σ²) of all pairs, [n, n] of float64: 8 n² bytes."""
    kernel = []
    for _, block in vectors.blocks(beside=len(vectors)):
        lengths = block.square().sum(1, keepdim=True)
        row = [lengths + other.square().sum(1) - 2 * block @ other.T for _, other in vectors.blocks()]
        kernel.append(torch.cat(row, 1).clamp_(min=0).mul_(-0.5 / sigma**2).exp_())
    return torch.cat(kernel).fill_diagonal_(1.0)


def greedy(kernel: torch.Tensor, count: int) -> np.ndarray:
    """Places of ``count`` rows, chosen one after the other; [count] of int64 in the order of the choice.

    Each time the row c is taken that makes mean κ(C, C) + mean κ(S, S) − 2 mean κ(C, S) smallest for S = all chosen and
    c; of several the first. Mean κ(C, C) is the same for all; the sums over S grow by a row of κ at each step, so a
    step costs n and not n².

    Args:
        kernel: of all n rows of C, [n, n].
    """
    to_all = kernel.mean(1)  # mean κ(C, c) of each candidate
    to_chosen = torch.zeros_like(to_all)
    own = kernel.diagonal()
    inside = across = 0.0  # Σ κ(S, S) and Σ_{c in S} mean κ(C, c)
    free = torch.ones(len(kernel), dtype=torch.bool, device=kernel.device)
    chosen = np.empty(count, np.int64)
    for step in range(count):
        grown = step + 1
        loss = (inside + 2 * to_chosen + own) / grown**2 - 2 * (across + to_all) / grown
        best = int(loss.round(decimals=DIGITS).masked_fill(~free, torch.inf).argmin())
        chosen[step] = best
        inside += float(2 * to_chosen[best] + own[best])
        across += float(to_all[best])
        to_chosen += kernel[best]
        free[best] = False
    return chosen
