"""What a feature is, and what it may look at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import torch

from selectmm.errors import UserError
from selectmm.features.loaded import Loaded
from selectmm.models.encode import IGNORED, ROOM, Batch, Conversation, cut
from selectmm.models.forward import Answers, Heads, Passed, Reads, run
from selectmm.models.inputs import to_device
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool

View = Literal["conversation", "image", "answer"]

NO_ANSWER = -1.0  # in place of a loss or an error, which are never negative, where the cut left no answer token


class Feature(Protocol):
    """A frozen dataclass whose fields are its identity: two equal features are computed once.

    Attributes:
        view: what of a row it looks at. ``conversation``: all of it. ``image``: the image alone, one value per unique
            image however many rows share it. ``answer``: the answers alone, without image and questions.
        vector: whether its values are vectors, [width] of floats, or single numbers.
    """

    @property
    def view(self) -> View:
        """See the class."""
        ...

    @property
    def vector(self) -> bool:
        """See the class."""
        ...

    def reads(self) -> Reads:
        """What it needs of the forward pass that it shares with others; `Reads()` for none."""
        ...

    def compute(self, seen: "Seen") -> torch.Tensor:
        """Values [n] or [n, width] of a batch of n rows or images."""
        ...


class Seen:
    """A batch of n rows (or images) as a feature sees it; each part is made when it is first asked for.

    Attributes:
        vlm: the target model.
        loaded: what was read of the rows.
        limit: tokens per row.
    """

    def __init__(self, vlm: VLM, loaded: Loaded, reads: Reads, limit: int) -> None:
        self.vlm = vlm
        self.loaded = loaded
        self._reads = reads
        self.limit = limit

    def __len__(self) -> int:
        return len(self.loaded.lengths)

    @property
    def conversations(self) -> Sequence[Conversation]:
        """Turns and opened images, n of them.

        Raises:
            ValueError: the feature's ``reads()`` does not say ``pictures=True``.
        """
        if self.loaded.conversations is None:
            raise ValueError("A feature that looks at turns and images themselves has to read pictures=True.")
        return self.loaded.conversations

    @property
    def lengths(self) -> torch.Tensor:
        """Tokens of each conversation before it is cut, [n] of int64."""
        return self.loaded.lengths

    @cached_property
    def batch(self) -> Batch:
        """Tensors as `selectmm.models.encode.encode` makes them, padded on the right and cut as in training.

        Raises:
            UserError: the cut would go through an image.
            ValueError: the feature's ``reads()`` says ``tensors=False``.
        """
        if self.loaded.tensors is None:
            raise ValueError("A feature that looks at tokens or states has to read tensors=True, which is the default.")
        try:
            return to_device(cut(self.loaded.tensors, self.limit, self.vlm), self.vlm.model)
        except ValueError as problem:
            raise UserError(f"Features cannot be computed: {problem}; {ROOM}.") from problem

    @property
    def tokens(self) -> torch.Tensor:
        """Which places hold a token and not padding, [n, tokens] of bool."""
        return self.batch["attention_mask"].bool()

    @property
    def image_tokens(self) -> torch.Tensor:
        """Those of images and of clips' frames, [n, tokens] of bool."""
        return self.vlm.is_visual(self.batch["input_ids"])

    @property
    def instruction_tokens(self) -> torch.Tensor:
        """The user's words, [n, tokens] of bool."""
        return self.batch["instruction"]

    @property
    def answer_tokens(self) -> torch.Tensor:
        """The answers with their end tokens, [n, tokens] of bool."""
        return self.batch["labels"] != IGNORED

    @cached_property
    def _passed(self) -> Passed:
        return run(self.vlm, self.batch, self._reads)

    def hidden(self, layer: int) -> torch.Tensor:
        """States [n, tokens, width] after a layer of `Reads.layers`."""
        return self._passed.hidden[layer]

    def outputs(self, layer: int) -> torch.Tensor:
        """What self-attention adds to the residual stream [n, tokens, width] at a layer of `Reads.outputs`."""
        return self._passed.outputs[layer]

    def neurons(self, layer: int) -> torch.Tensor:
        """What enters the last feed-forward projection [n, tokens, neurons] of a layer of `Reads.neurons`."""
        return self._passed.neurons[layer]

    def gates(self, layer: int) -> torch.Tensor:
        """What the feed-forward activation function gives [n, tokens, neurons], of a layer of `Reads.gates`."""
        return self._passed.gates[layer]

    def projected(self, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys as they are projected, [n, tokens, heads · channels] each, of `Reads.projections`."""
        found = self._passed.projections[layer]
        return found["q_proj"], found["k_proj"]

    def heads(self, layer: int) -> Heads:
        """Queries and keys of a layer of `Reads.attention`."""
        return self._passed.heads[layer]

    @cached_property
    def answers(self) -> Answers:
        """Logits of the answer tokens in float32, if `Reads.answers` asked for them."""
        found = self._passed.answers
        return Answers(found.logits.float(), found.targets, found.rows)

    def per_row(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over each row's answer tokens of values [m]; `NO_ANSWER` for a row without any; [n]."""
        rows, n = self.answers.rows, len(self)
        counts = torch.bincount(rows, minlength=n)
        sums = torch.zeros(n, dtype=values.dtype, device=values.device).index_add_(0, rows, values)
        return torch.where(counts > 0, sums / counts.clamp(min=1), NO_ANSWER)


@dataclass(frozen=True)
class Targets:
    """Examples of the benchmarks that the subset is meant for, and their feature values.

    ``pool`` holds them as rows whose source is the benchmark's name.
    """

    pool: Pool
    values: Mapping[Feature, np.ndarray]

    def __getitem__(self, feature: Feature) -> np.ndarray:
        """[examples, …], or [unique images, …] where ``view`` is ``image``."""
        return self.values[feature]


@dataclass(frozen=True)
class Reference:
    """The rows that the warm-up trained on, positions in the pool [n], and feature values of theirs."""

    rows: np.ndarray
    values: Mapping[Feature, np.ndarray]

    def __getitem__(self, feature: Feature) -> np.ndarray:
        """[n, …]; features of images are not computed for a reference."""
        return self.values[feature]


@dataclass(frozen=True)
class Features:
    """Values of what a method needs, by feature.

    Attributes:
        targets: only where the method needs them.
        reference: only where it asks for features of the warm-up's rows.
        snapshots: if it asks for snapshots of the warm-up, the features at each, first to last; the last are these.
        rate: of a snapshot, the mean learning rate of the steps up to it from the one before.
    """

    values: Mapping[Feature, np.ndarray]
    targets: Targets | None = None
    reference: Reference | None = None
    snapshots: tuple["Features", ...] = ()
    rate: float = 1.0

    def __getitem__(self, feature: Feature) -> np.ndarray:
        """[rows, …], or [unique images, …] where ``view`` is ``image``."""
        return self.values[feature]


def units_of(pool: Pool, feature: Feature) -> int:
    """How many values of the feature a pool has."""
    return len(pool.images) if feature.view == "image" else len(pool)
