"""A model that is lent to training comes back, 4-bit weights included."""

import torch
from torch import nn

from selectmm.tuning.unchanged import unchanged


class QuantState:
    """As bitsandbytes': scales beside a 4-bit weight, which ``to`` moves in place."""

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def to(self, device: torch.device | str) -> None:
        self.device = torch.device(device)


def test_scales_of_a_4_bit_weight_come_back_to_its_device() -> None:
    """Lightning moves the model to main memory at the end of a training, and the scales with it."""
    model = nn.Linear(2, 2)
    model.weight.quant_state, model.bias.quant_state = QuantState(), None
    with unchanged(model):
        model.weight.quant_state.to("cuda:0")  # any other device
    assert model.weight.quant_state.device == model.weight.device
