"""What a feature is."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch

from selectmm.models.encode import Batch
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Sample


class Feature(Protocol):
    """A frozen dataclass whose fields are its identity: two equal features are computed once.

    Attributes:
        unit: ``row``: one value per row, from its conversation. ``image``: one value per unique image, from the image
            alone, however many rows share it.
        layer: the deepest decoder layer whose output it reads; 0 if it runs no model.
    """

    @property
    def unit(self) -> Literal["row", "image"]: ...

    @property
    def layer(self) -> int: ...

    def compute(self, vlm: VLM, batch: Batch, hidden: torch.Tensor | None) -> torch.Tensor:
        """Values [n] or [n, width] of a batch of n units.

        Args:
            vlm: the target model.
            batch: the encoded units (`selectmm.models.encode.encode`, padded on the right).
            hidden: states [n, tokens, width] after decoder layer ``layer``; None if ``layer`` is 0.
        """
        ...


Values = Mapping[Feature, np.ndarray]
"""Feature values by feature: [rows, …] for unit ``row``, [unique images, …] for unit ``image``."""


def rows_of(pool: Pool, feature: Feature) -> int:
    """How many units of the feature a pool has."""
    return len(pool) if feature.unit == "row" else len(pool.images)


def samples_of(pool: Pool, positions: Sequence[int]) -> list[Sample]:
    """Several rows at once."""
    return [pool[int(position)] for position in positions]
