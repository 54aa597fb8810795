"""What each of several features would have taken alone of the passes that they ride on together, and what some would.

Jobs of a sweep share their passes, but a method's cost is what the method needs: one that reads the first layer is not
charged for another that reads the last. What is measured, in each pass: reading, the forward pass as far as each
feature reads it, and each feature's own computation. Several features are charged once for each pass that they ride on
with reading and with the deepest of their forward passes, and with the computation of each of them.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from selectmm.cache.stage import write_atomically
from selectmm.features.feature import Feature, View
from selectmm.models.vlm import VLM

SECONDS = "seconds.json"  # in a feature's stage: what it would have taken alone, and what all took that rode along


@dataclass
class Shares:
    """Seconds of a shard's batches so far that each feature would have taken alone, by what they went to.

    What features have in common goes by the same name: reading and the forward pass by the pass's view.
    """

    vlm: VLM
    features: Sequence[Feature]
    view: View
    alone: dict[Feature, dict[str, float]] = field(default_factory=dict)

    def waited(self, seconds: float) -> None:
        """Reading, which each of them would have waited for."""
        for feature in self.features:
            self._add(feature, f"reading {self.view}", seconds)

    def took(self, feature: Feature, seconds: float) -> None:
        """A feature's own computation."""
        self._add(feature, repr(feature), seconds)

    def would_take(self, feature: Feature, like: Feature) -> None:
        """Alone a feature would have taken as long as another one did, and both together no longer."""
        self.alone[feature] = dict(self.alone[like])

    def _add(self, feature: Feature, to: str, seconds: float) -> None:
        so_far = self.alone.setdefault(feature, {})
        so_far[to] = so_far.get(to, 0.0) + seconds

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
        for feature, read in reads.items():
            self._add(feature, f"passing {self.view}", reached.get(read.deepest, end) - start)

    def now(self) -> float:
        """Seconds, when all that a GPU was given is done."""
        if self.vlm.model.device.type == "cuda":
            torch.cuda.synchronize(self.vlm.model.device)
        return time.perf_counter()

    def save(self, folder: Path, feature: Feature, shard: range) -> None:
        """Keep a shard's seconds beside its values, for `sum_up`."""
        seconds = json.dumps(self.alone.get(feature, {}))
        write_atomically(folder / f"seconds-{shard.start:09d}-{shard.stop:09d}.json", seconds)


def sum_up(folders: Iterable[Path]) -> None:
    """Once all shards are there: what was noted of each, in the folder of each feature, as `SECONDS`."""
    noted = {folder: sorted(folder.glob("seconds-*.json")) for folder in folders}
    took = {folder: _sums([json.loads(file.read_text()) for file in files]) for folder, files in noted.items() if files}
    for folder, seconds in took.items():
        content = {"alone": seconds, "everything": _together(took.values())}
        write_atomically(folder / SECONDS, json.dumps(content))
        for file in noted[folder]:
            file.unlink()


def share_of(folder: Path) -> float:
    """The share of all passes that a feature would have taken alone; 1 where nothing was noted."""
    if not (folder / SECONDS).exists():
        return 1.0
    noted = json.loads((folder / SECONDS).read_text())
    return min(1.0, sum(noted["alone"].values()) / noted["everything"]) if noted["everything"] else 1.0


def noted_share_is_whole(folder: Path) -> float:
    """Of a pass that one job made for itself: all of it. Deletes the note."""
    (folder / SECONDS).unlink(missing_ok=True)
    return 1.0


def times_alone(folder: Path, folders: Iterable[Path]) -> float:
    """How many times what the feature of ``folder`` would have taken alone it and others (``folders``) would have.

    1 where nothing was noted: of passes that one job made for itself, or by an earlier version.
    """
    noted = {one: json.loads((one / SECONDS).read_text())["alone"] for one in folders if (one / SECONDS).exists()}
    alone = sum(noted.get(folder, {}).values())
    return _together(noted.values()) / alone if alone else 1.0


def _sums(shards: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Seconds of all shards, by what they went to."""
    sums: dict[str, float] = {}
    for seconds in shards:
        sums = {to: sums.get(to, 0.0) + seconds.get(to, 0.0) for to in {**sums, **seconds}}
    return sums


def _together(features: Iterable[Mapping[str, float]]) -> float:
    """Seconds of several features: what they have in common counts once, as the one counts it that takes most of it."""
    most: dict[str, float] = {}
    for seconds in features:
        most |= {to: max(taken, most.get(to, 0.0)) for to, taken in seconds.items()}
    return sum(most.values())
