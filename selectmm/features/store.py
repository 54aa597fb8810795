"""The feature store: one pass over the pool feeds everything that is asked for, once."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from selectmm.errors import UserError
from selectmm.features.feature import Feature, rows_of, samples_of
from selectmm.models.encode import Batch, Conversation, cut, encode
from selectmm.models.forward import hidden_after, to_device
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.records.progress import track
from selectmm.records.stage import Stage, run_stage, source_of

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

        A feature's cost is that of the pass it rode on, all of it: what it would cost alone is at most that.

        Raises:
            UserError: the pool has no image and a feature needs one, or values came out as NaN.
        """
        for feature in features:
            if rows_of(pool, feature) == 0:
                raise UserError(
                    f"{type(feature).__name__} needs images, but no row of the pool has one; choose a method that "
                    f"works on text, such as method=length or method=random."
                )
        finished: dict[Feature, Stage] = {}
        self._run(pool, sorted(set(features), key=repr), {}, finished)
        return finished

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

        finished[feature] = run_stage(self.cache, "features", self._identity(pool, feature), make)
        if not entered:  # it was there already: the others still have to be looked at
            self._run(pool, rest, partials, finished)

    def _identity(self, pool: Pool, feature: Feature) -> dict[str, object]:
        return {
            "feature": source_of(feature),
            "options": asdict(feature),
            "pool": pool.fingerprint,
            "model": self.vlm.identity,
            "limit": self.limit,
            "version": 1,
        }

    def _pass(self, pool: Pool, partials: Partials) -> None:
        for unit in ("image", "row"):
            wanted = {feature: folder for feature, folder in partials.items() if feature.unit == unit}
            if wanted:
                self._pass_over(pool, wanted, rows_of(pool, next(iter(wanted))))

    def _pass_over(self, pool: Pool, wanted: Partials, units: int) -> None:
        """Compute shard after shard; the features of one pass are of one unit and share the forward."""
        names = " + ".join(type(feature).__name__ for feature in wanted)
        starts = [
            start
            for start in range(0, units, self.shard)
            if any(not _shard(f, start).exists() for f in wanted.values())
        ]
        for start in track(starts, f"features: {names}", len(starts)):
            stop = min(start + self.shard, units)
            values = self._values(pool, list(wanted), range(start, stop))
            for feature, folder in wanted.items():
                _save(_shard(folder, start), values[feature], feature)

    @torch.inference_mode()
    def _values(self, pool: Pool, features: list[Feature], units: range) -> dict[Feature, np.ndarray]:
        parts: dict[Feature, list[torch.Tensor]] = {feature: [] for feature in features}
        for start in range(units.start, units.stop, self.batch_size):
            some = range(start, min(start + self.batch_size, units.stop))
            whole = to_device(self._encode(pool, features[0].unit, some), self.vlm.model)
            for feature, values in _compute(self.vlm, features, whole, self.limit):
                parts[feature].append(values.cpu())
        return {feature: torch.cat(values).numpy() for feature, values in parts.items()}

    def _encode(self, pool: Pool, unit: str, some: Iterable[int]) -> Batch:
        if unit == "image":  # the shortest conversation that shows the image
            nothing = (Turn("user", ""),)
            conversations = [Conversation(nothing, (pool.open_image(pool.images[image]),)) for image in some]
        else:
            conversations = [
                Conversation(sample.turns, (pool.open_image(sample.image),) if sample.image else ())
                for sample in samples_of(pool, list(some))
            ]
        return encode(self.vlm, conversations, side="right", limit=None)


def _compute(vlm: VLM, features: Sequence[Feature], whole: Batch, limit: int) -> Iterable[tuple[Feature, torch.Tensor]]:
    """Each feature's values of a batch, from one forward pass to the deepest layer that any of them reads.

    The model sees rows cut to ``limit`` tokens, as in training; a feature that runs no model sees them whole.
    """
    layers = {feature.layer for feature in features if feature.layer}
    try:
        batch = cut(whole, limit, vlm.image_token_id) if layers else whole
    except ValueError as problem:
        raise UserError(f"Features cannot be computed: {problem}; raise recipe.max_length.") from problem
    states = hidden_after(vlm, batch, layers)
    for feature in features:
        yield feature, feature.compute(vlm, batch if feature.layer else whole, states.get(feature.layer))


def _shard(folder: Path, start: int) -> Path:
    return folder / f"shard-{start:09d}.npy"


def _save(path: Path, values: np.ndarray, feature: Feature) -> None:
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise UserError(
            f"{feature} came out as NaN or infinite for a row near {path.stem.removeprefix('shard-')}; the model "
            f"overflows on it: set model.dtype=float32, or look at that row."
        )
    beside = path.with_suffix(".partial")
    with beside.open("wb") as stream:
        np.save(stream, values)
    beside.replace(path)


def _join(folder: Path) -> None:
    """All shards into one memory-mappable ``values.npy``."""
    shards = sorted(folder.glob("shard-*.npy"))
    first = np.load(shards[0], mmap_mode="r")
    rows = sum(len(np.load(shard, mmap_mode="r")) for shard in shards)
    joined = np.lib.format.open_memmap(folder / "values.npy", "w+", first.dtype, (rows, *first.shape[1:]))
    at = 0
    for shard in shards:
        values = np.load(shard)
        joined[at : at + len(values)] = values
        at += len(values)
    joined.flush()
    for shard in shards:
        shard.unlink()
