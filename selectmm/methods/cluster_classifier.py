"""A small classifier that tells the clusters of rows apart by image and text (OnceSelect's)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from selectmm.methods.clustering import Vectors

BATCH = 1024  # rows of a step
RATE, DECAY = 1e-5, 1e-4  # of AdamW
INTERACTION = 0.1  # what the interaction of image and text counts at first


class _Gated(nn.Module):
    """A gate per row mixes image and text, each [rows, half], and their product is added; one layer leads to the
    clusters."""

    def __init__(self, half: int, wide: int, gate: int, dropout: float, clusters: int) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(half, wide), nn.Linear(half, wide)
        self.both = nn.Linear(half, wide, bias=False)
        self.narrow, self.gate = nn.Linear(3 * half, gate), nn.Linear(gate, 1)
        self.scale = nn.Parameter(torch.tensor(INTERACTION, dtype=torch.float64))
        self.norm, self.out = nn.LayerNorm(wide), nn.Linear(wide, clusters)
        self.dropout = dropout

    def forward(self, pairs: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits, [rows, clusters]; ``keep``: which channels before the last layer dropout leaves, [rows, wide]."""
        image, text = pairs.chunk(2, dim=1)
        product = image * text
        share = self.gate(torch.relu(self.narrow(torch.cat([pairs, product], 1)))).sigmoid()
        mixed = share * torch.relu(self.image(image)) + (1 - share) * torch.relu(self.text(text))
        ready = torch.relu(self.norm(mixed + self.scale * self.both(product)))
        if keep is not None:
            ready = ready * keep / (1 - self.dropout)
        return self.out(ready)


@dataclass(frozen=True)
class Training:
    """How the classifier is trained.

    Attributes:
        wide: width of image and text where they are mixed. gate: width of the hidden layer behind the gate.
        dropout: before the last layer.
        epochs: at most. validation: share of the rows that it is judged on. accuracy: what is looked for there.
    """

    wide: int
    gate: int
    dropout: float
    epochs: int
    validation: float
    accuracy: float


def confidence(vectors: Vectors, core: np.ndarray, labels: np.ndarray, training: Training, seed: int) -> np.ndarray:
    """The highest probability that the classifier gives any cluster, for every vector; [n] of float64.

    It learns the core's clusters; an epoch is as many draws, with replacement, as there are rows to learn, and every
    cluster is drawn as often. After every epoch its mean accuracy over the clusters is taken on rows that it does not
    learn; the weights are kept for which that is nearest ``training.accuracy`` among those after which all clusters are
    predicted there or, if there are none, among all. (Where every cluster has one row, none can be spared: it is judged
    on what it learns.)

    Args:
        vectors: of even width, image and text, each at length 1. core: places of the rows to learn from. labels: their
            clusters from 0, [core], each at least once.
    """
    generator = torch.Generator().manual_seed(seed)
    clusters = int(labels.max()) + 1
    net = _made(vectors.width // 2, clusters, training, generator)
    pairs, classes = vectors.take(core).cpu(), torch.from_numpy(labels)
    held = _held_out(labels, training.validation, generator)
    learned = (~held).nonzero().flatten()
    judged = held if held.any() else ~held
    weight = 1 / torch.bincount(classes[learned], minlength=clusters).clamp(min=1).double()[classes[learned]]
    adam = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    best: tuple[bool, float] | None = None
    kept = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    for _ in range(training.epochs):
        drawn = torch.multinomial(weight, len(learned), replacement=True, generator=generator)
        for some in learned[drawn].split(BATCH):
            keep = torch.rand(len(some), training.wide, generator=generator, dtype=torch.float64) >= training.dropout
            adam.zero_grad()
            cross_entropy(net(pairs[some], keep), classes[some]).backward()
            adam.step()
        with torch.no_grad():
            accuracy, covered = _judge(net(pairs[judged]).argmax(1), classes[judged])
        found = (not covered, round(abs(accuracy - training.accuracy), 9))
        if best is None or found < best:
            best, kept = found, {name: tensor.clone() for name, tensor in net.state_dict().items()}
    net.load_state_dict(kept)
    with torch.no_grad():
        blocks = vectors.blocks(beside=clusters + 6 * training.wide + 2 * vectors.width)
        return np.concatenate([net(block.cpu()).softmax(1).max(1).values.numpy() for _, block in blocks])


def _made(half: int, clusters: int, training: Training, generator: torch.Generator) -> _Gated:
    """With weights from the generator alone: uniform within ±1 / √inputs, as PyTorch's are."""
    net = _Gated(half, training.wide, training.gate, training.dropout, clusters).double()
    with torch.no_grad():
        for part in (net.image, net.text, net.both, net.narrow, net.gate, net.out):
            for tensor in part.parameters():
                limit = part.in_features**-0.5
                tensor.copy_((torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1) * limit)
    return net


def _held_out(labels: np.ndarray, share: float, generator: torch.Generator) -> torch.Tensor:
    """Rows to judge by, the same share of every cluster, at least one of two, [core] of bool; of one it has none."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    for cluster in range(int(labels.max()) + 1):
        own = torch.from_numpy(np.flatnonzero(labels == cluster))
        count = min(len(own) - 1, max(1, round(share * len(own))))
        held[own[torch.randperm(len(own), generator=generator)[:count]]] = True
    return held


def _judge(guessed: torch.Tensor, truth: torch.Tensor) -> tuple[float, bool]:
    """Mean accuracy over the clusters that are there, and whether all of them are guessed at least once."""
    there = truth.unique()
    right = [float((guessed[truth == cluster] == cluster).double().mean()) for cluster in there]
    return sum(right) / len(right), bool(torch.isin(there, guessed).all())
