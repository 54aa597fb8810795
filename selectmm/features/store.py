"""The feature store: one pass over the pool feeds everything that is asked for, once."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import reduce
from operator import or_
from pathlib import Path

import numpy as np
import torch

from selectmm.errors import UserError
from selectmm.features.feature import Feature, Seen, View, units_of
from selectmm.models.encode import Conversation, ImageCut
from selectmm.models.forward import LAST, Reads
from selectmm.models.memory import enough_memory
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Sample, Turn
from selectmm.records.progress import track
from selectmm.records.stage import Stage, run_stage, source_of, write_atomically

STAGE = "features"
PASS = "pass.txt"  # names the pass that a feature rode on
_NOTHING = (Turn("user", ""),)

Partials = dict[Feature, Path]


@dataclass(frozen=True)
class FeatureStore:
    """Feature values under ``cache``, one stage folder per feature, pool and model.

    Attributes:
        vlm: the target model.
        batch_size: units per forward pass. shard: units per file written; a killed pass continues at the next shard.
        limit: tokens per row (the recipe's ``max_length``).
    """

    cache: Path
    vlm: VLM
    batch_size: int
    shard: int
    limit: int

    def get(self, pool: Pool, features: Sequence[Feature]) -> dict[Feature, np.ndarray]:
        """Values of all ``features``, memory-mapped: [rows or unique images, …]. See `stages` for errors."""
        stages = self.stages(pool, features)
        return {feature: np.load(stage.folder / "values.npy", mmap_mode="r") for feature, stage in stages.items()}

    def stages(self, pool: Pool, features: Sequence[Feature]) -> dict[Feature, Stage]:
        """The finished stage of each feature, computed now if need be: all that is missing rides on one pass.

        A feature's cost is that of the pass it rode on, all of it (what it would cost alone is at most that); what
        several features cost together is in `passes`.

        Raises:
            UserError: the pool has no image and a feature needs one, the model lacks a layer, or values came out as
                NaN.
        """
        self.check(pool, features)
        finished: dict[Feature, Stage] = {}
        self._run(pool, sorted(set(features), key=repr), {}, finished)
        return finished

    def check(self, pool: Pool, features: Sequence[Feature]) -> None:
        """Whether pool and model have what the features read, before anything is computed; errors as `stages`."""
        for feature in features:
            if units_of(pool, feature) == 0:
                raise UserError(
                    f"{type(feature).__name__} needs images, but no row of the pool has one; choose a method that "
                    f"works on text, such as method=length or method=random."
                )
            for layer in (feature.reads().layers | feature.reads().attention) - {0, LAST}:
                self.vlm.layer(layer)

    def _run(self, pool: Pool, waiting: list[Feature], partials: Partials, finished: dict[Feature, Stage]) -> None:
        """Enter the stage of each waiting feature, one inside the other; the innermost makes the pass for all."""
        if not waiting:
            self._pass(pool, partials)
            return
        feature, rest = waiting[0], waiting[1:]
        entered = False

        def make(folder: Path) -> None:
            nonlocal entered
            entered = True
            self._run(pool, rest, {**partials, feature: folder}, finished)
            _join(folder)

        identity = identity_of(feature, pool, self.vlm.identity, self.limit)
        finished[feature] = run_stage(self.cache, STAGE, identity, make)
        if not entered:  # it was there already: the others still have to be looked at
            self._run(pool, rest, partials, finished)

    def _pass(self, pool: Pool, partials: Partials) -> None:
        """The passes of `riders`, one after the other."""
        mark = uuid.uuid4().hex
        for folder in partials.values():
            write_atomically(folder / PASS, mark)
        for view, riding in riders(list(partials)).items():
            self._pass_over(pool, {feature: partials[feature] for feature in riding}, view)

    def _pass_over(self, pool: Pool, wanted: Partials, view: str) -> None:
        names = " + ".join(type(feature).__name__ for feature in wanted)
        units = len(pool.images) if view == "image" else len(pool)
        shards = [range(start, min(start + self.shard, units)) for start in range(0, units, self.shard)]
        first = _first_rows(pool) if view == "conversation" else None
        done = {feature: _covered(folder) for feature, folder in wanted.items()}

        def target(feature: Feature, shard: range) -> range:
            """The units of a feature that a shard of this pass yields."""
            if feature.view != "image" or first is None:
                return shard
            return range(*np.searchsorted(first, [shard.start, shard.stop]).tolist())

        open_shards = [s for s in shards if any(done[f] < target(f, s).stop for f in wanted)]
        for shard in track(open_shards, f"features: {names}", len(open_shards)):
            values = self._values(pool, list(wanted), shard, view)
            for feature, folder in wanted.items():
                whole = target(feature, shard)
                made = values[feature]
                if whole != shard:  # of an image's rows the first one speaks for it
                    made = made[first[whole.start : whole.stop] - shard.start]
                left = range(max(whole.start, done[feature]), whole.stop)
                if len(left):
                    _save(folder, left, made[left.start - whole.start :], feature)

    @torch.no_grad()
    def _values(self, pool: Pool, features: list[Feature], units: range, view: str) -> dict[Feature, np.ndarray]:
        reads = reduce(or_, (feature.reads() for feature in features), Reads())
        parts: dict[Feature, list[np.ndarray]] = {feature: [] for feature in features}
        order = _by_length(pool, view, units)
        for start in range(0, len(order), self.batch_size):
            some = order[start : start + self.batch_size].tolist()
            seen = Seen(self.vlm, list(conversations_of(pool, view, some)), reads, self.limit)
            with enough_memory(f"features of {len(some)} rows were computed at a time", "lower batch_size"):
                with _naming(seen.conversations):
                    for feature in features:
                        parts[feature].append(feature.compute(seen).cpu().numpy())
        back = np.argsort(order)
        return {feature: np.concatenate(values)[back] for feature, values in parts.items()}


def identity_of(feature: Feature, pool: Pool, model: str, limit: int) -> dict[str, object]:
    """Of a feature's stage: what its values follow from. ``model`` is a `VLM`'s identity, ``limit`` tokens per row."""
    return {
        "feature": source_of(feature),
        "options": asdict(feature),
        "pool": pool.fingerprint,
        "model": model,
        "limit": limit,
        "version": 2,
    }


def riders(features: Sequence[Feature]) -> dict[View, list[Feature]]:
    """Which features ride on which pass: one over the rows, one over the answers alone, one over the unique images.

    Only the passes that are wanted. Image features ride on the pass over the rows if there is one: an image's first row
    shows it.
    """
    views = {feature.view for feature in features}
    if "conversation" not in views:
        return {view: [f for f in features if f.view == view] for view in sorted(views)}
    alone = {view: [f for f in features if f.view == view] for view in sorted(views - {"image", "conversation"})}
    return {**alone, "conversation": [f for f in features if f.view not in alone]}


def passes(stages: Sequence[Stage]) -> list[Stage]:
    """One stage per pass, the dearest of those that rode on it: together they cost what was spent."""
    dearest: dict[str, Stage] = {}
    for stage in stages:
        mark = (stage.folder / PASS).read_text()
        if mark not in dearest or dearest[mark].cost.seconds < stage.cost.seconds:
            dearest[mark] = stage
    return list(dearest.values())


def _by_length(pool: Pool, view: str, units: range) -> np.ndarray:
    """The units of a shard from short to long, so that little of a batch is padding; [units] of int64.

    In characters, after rows without image and before rows with one: an image's tokens are unknown, and often more than
    all words.
    """
    if view == "image":
        return np.arange(units.start, units.stop)
    samples = [pool[row] for row in units]
    image = [sample.image is not None and view == "conversation" for sample in samples]
    said = [[len(t.text) for t in s.turns if view == "conversation" or t.role == "assistant"] for s in samples]
    return units.start + np.lexsort(([sum(lengths) for lengths in said], image))


def conversations_of(pool: Pool, view: str, units: Iterable[int]) -> Iterator[Conversation]:
    """Rows (or images) of a pool as a view shows them; for images, the shortest conversation that shows one."""
    if view == "image":
        for image in units:
            yield Conversation(_NOTHING, (pool.open_image(pool.images[image]),), name=f"image {pool.images[image]}")
        return
    for row in units:
        sample = pool[row]
        yield replace(_answers_alone(sample) if view == "answer" else _whole(pool, sample), name=pool.named(row))


def _whole(pool: Pool, sample: Sample) -> Conversation:
    return Conversation(sample.turns, (pool.open_image(sample.image),) if sample.image else (), sample.image_turn)


def _answers_alone(sample: Sample) -> Conversation:
    return Conversation(tuple(turn for turn in sample.turns if turn.role == "assistant"))


@contextmanager
def _naming(conversations: Sequence[Conversation]) -> Iterator[None]:
    """An image that the limit cuts is told with the name of its conversation."""
    try:
        yield
    except UserError as problem:
        if not isinstance(problem.__cause__, ImageCut):
            raise
        name = conversations[problem.__cause__.rows[0]].name
        raise UserError(f"{problem} (It is that of {name}.)") from problem


def _first_rows(pool: Pool) -> np.ndarray:
    """The first row that shows each unique image, ascending because images are numbered by first use; [images]."""
    shown = np.flatnonzero(pool.image_of >= 0)
    return shown[np.unique(pool.image_of[shown], return_index=True)[1]]


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.npy"))


def _covered(folder: Path) -> int:
    """Units whose values lie there, from the first on; shards are written in order."""
    return max((int(shard.stem.rpartition("-")[2]) for shard in _shards(folder)), default=0)


def _save(folder: Path, units: range, values: np.ndarray, feature: Feature) -> None:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        bad = units.start + int(np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))[0])
        what = "image" if feature.view == "image" else "row"
        raise UserError(
            f"{feature} came out as NaN or infinite for {what} {bad}; the model overflows on it: set "
            f"model.dtype=float32, or look at that {what}."
        )
    path = folder / f"shard-{units.start:09d}-{units.stop:09d}.npy"
    beside = path.with_suffix(".partial")
    with beside.open("wb") as stream:
        np.save(stream, values)
    beside.replace(path)


def _join(folder: Path) -> None:
    """All shards into one memory-mappable ``values.npy``."""
    shards = _shards(folder)
    first = np.load(shards[0], mmap_mode="r")
    rows = sum(len(np.load(shard, mmap_mode="r")) for shard in shards)
    joined = np.lib.format.open_memmap(folder / "values.npy", "w+", first.dtype, (rows, *first.shape[1:]))
    at = 0
    for shard in shards:
        values = np.load(shard)
        joined[at : at + len(values)] = values
        at += len(values)
    joined.flush()
    for shard in reversed(shards):  # so that a kill leaves the first ones, which is what a resumed pass expects
        shard.unlink()
