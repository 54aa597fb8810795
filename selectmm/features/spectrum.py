"""How many directions a row's states spread over, and where it ends (DataTailor's representation)."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch

from selectmm.features.feature import Seen
from selectmm.features.states import as_kept
from selectmm.models.forward import Reads

LAST_LAYER = Fraction(1)  # its output, before the final norm


@dataclass(frozen=True)
class StateSpectrum:
    """Of the singular values σ of a row's states [tokens, width] after the last layer, before the final norm, with
    p = σ / Σσ: the entropy −Σ p log p, and the highest p; [rows, 2] of float32, eight bytes each.

    From DataTailor's released code, where states are taken while the model trains; here of the model as it is. The
    singular values are square roots of the eigenvalues of the smaller inner-product matrix, in float64.
    """

    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States of the last layer."""
        return Reads(layers=frozenset({LAST_LAYER}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """Entropy and highest share of each row's singular values, [n, 2]."""
        hidden = seen.hidden(len(seen.vlm.layers))
        return torch.stack([_spectrum(row[real]) for row, real in zip(hidden, seen.tokens, strict=True)])


@dataclass(frozen=True)
class LastState:
    """State of a row's last token after the last layer, before the final norm; [rows, width]."""

    view: Literal["conversation"] = "conversation"
    vector: Literal[True] = True

    def reads(self) -> Reads:
        """States of the last layer."""
        return Reads(layers=frozenset({LAST_LAYER}))

    def compute(self, seen: Seen) -> torch.Tensor:
        """One state per row, [n, width]."""
        hidden = seen.hidden(len(seen.vlm.layers))
        last = seen.tokens.sum(1) - 1  # rows are padded on the right
        return as_kept(hidden[torch.arange(len(hidden), device=hidden.device), last], hidden)


def _spectrum(states: torch.Tensor) -> torch.Tensor:
    states = states.double()
    inner = states @ states.T if states.shape[0] <= states.shape[1] else states.T @ states
    values = torch.linalg.eigvalsh(inner).clamp(min=0).sqrt()
    shares = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.stack([-torch.xlogy(shares, shares).sum(), shares.max()]).float()
