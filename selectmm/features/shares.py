"""What each of several features would have taken alone of a pass that they ride on together.

Jobs of a sweep share a pass, but a method's cost is what the method needs: one that reads the first layer is not
charged for another that reads the last. Each feature is charged with reading, with the forward pass as far as it reads
it, and with its own computation.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from selectmm.features.feature import Feature
from selectmm.models.vlm import VLM
from selectmm.records.stage import write_atomically


@dataclass
class Shares:
    """Seconds of a shard's batches so far: of all of it, and of what each feature would have taken alone."""

    vlm: VLM
    features: Sequence[Feature]
    everything: float = 0.0
    alone: dict[Feature, float] = field(default_factory=dict)

    def waited(self, seconds: float) -> None:
        """Reading, which each of them would have waited for."""
        self.everything += seconds
        for feature in self.features:
            self.alone[feature] = self.alone.get(feature, 0.0) + seconds

    def took(self, feature: Feature, seconds: float) -> None:
        """A feature's own computation."""
        self.everything += seconds
        self.alone[feature] = self.alone.get(feature, 0.0) + seconds

    def would_take(self, feature: Feature, like: Feature) -> None:
        """Alone a feature would have taken as long as another one did."""
        self.alone[feature] = self.alone[like]

    @contextmanager
    def passing(self) -> Iterator[None]:
        """The forward pass that they share runs inside the block."""
        depth = len(self.vlm.layers)
        reads = {feature: feature.reads().on(depth) for feature in self.features if not feature.reads().nothing}
        reached: dict[int | None, float] = {}
        with ExitStack() as stack:
            for layer in {read.deepest for read in reads.values()} - {None}:
                hook = self.vlm.layer(layer).register_forward_hook(
                    lambda *_, at=layer: reached.update({at: self.now()})
                )
                stack.callback(hook.remove)
            start = self.now()
            yield
        end = self.now()
        self.everything += end - start
        for feature, read in reads.items():
            self.alone[feature] = self.alone.get(feature, 0.0) + reached.get(read.deepest, end) - start

    def now(self) -> float:
        """Seconds, when all that a GPU was given is done."""
        if self.vlm.model.device.type == "cuda":
            torch.cuda.synchronize(self.vlm.model.device)
        return time.perf_counter()

    def save(self, folder: Path, feature: Feature, shard: range) -> None:
        """Keep a shard's seconds beside its values."""
        seconds = {"alone": self.alone.get(feature, 0.0), "everything": self.everything}
        write_atomically(folder / f"took-{shard.start:09d}-{shard.stop:09d}.json", json.dumps(seconds))


def share_of(folder: Path) -> float:
    """The share of its pass that a feature would have taken alone; 1 where nothing was noted. Deletes the notes."""
    files = sorted(folder.glob("took-*.json"))
    noted = [json.loads(file.read_text()) for file in files]
    for file in files:
        file.unlink()
    everything = sum(one["everything"] for one in noted)
    return min(1.0, sum(one["alone"] for one in noted) / everything) if everything else 1.0


def noted_share_is_whole(folder: Path) -> float:
    """Of a pass that one job made for itself: all of it. Deletes the notes."""
    share_of(folder)
    return 1.0
