"""One pass over a pool: its shards, and how one process computes some of them."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property, partial, reduce
from itertools import pairwise
from operator import or_
from pathlib import Path

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from peft.tuners.lora import LoraLayer

from selectmm.cache.cost import computing
from selectmm.errors import UserError
from selectmm.features.feature import Feature, Seen, View, units_of
from selectmm.features.gradients import GradientNorm, ProjectedGradient, _in_dtype_of, lora_linears
from selectmm.features.loaded import Loaded
from selectmm.features.reading import Reader, answers_of, name_of, read
from selectmm.features.shards import covered, save_missing
from selectmm.features.shares import Shares
from selectmm.models.encode import ImageCut
from selectmm.models.forward import Reads
from selectmm.models.load import reading
from selectmm.models.together import TOKENS
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool

CPU_TOKENS = 1_024  # a core is no faster with more, and their activations leave its cache
SORTED = 16  # batches whose rows are sorted by length together


@dataclass(frozen=True)
class Sizes:
    """How a pass is cut up.

    Attributes:
        batch_size: units per forward pass. shard: units per file written; a killed pass continues at the next shard.
        limit: tokens per row (the recipe's ``max_length``).
        tokens: the most in one forward pass, padding included; a batch that has more takes several.
    """

    batch_size: int
    shard: int
    limit: int
    tokens: int = TOKENS


@dataclass(frozen=True)
class Pass:
    """Features that are computed together, each with the folder that its values go to.

    Values follow from the pool, the model and the sizes, not from who computes which shard.

    Attributes:
        at: where in a training the model is, for the progress bar.
    """

    pool: Pool
    view: View
    wanted: Mapping[Feature, Path]
    sizes: Sizes
    at: str = ""

    @property
    def name(self) -> str:
        """For the progress bar."""
        return f"features{self.at}: " + " + ".join(type(feature).__name__ for feature in self.wanted)

    def open_shards(self) -> list[range]:
        """The shards (ranges of rows, or of images where that is the view) that are not done for every feature."""
        units = len(self.pool.images) if self.view == "image" else len(self.pool)
        there = self._there()
        return [
            shard
            for start in range(0, units, self.sizes.shard)
            for shard in [range(start, min(start + self.sizes.shard, units))]
            if any(not there[feature][_slice(self._target(feature, shard))].all() for feature in self.wanted)
        ]

    def reads(self, vlm: VLM) -> Reads:
        """Of all its features, on this model: the last layer, a share of 1, is not the first until it has a number."""
        return reduce(or_, (feature.reads().on(len(vlm.layers)) for feature in self.wanted))

    def compute(self, vlm: VLM, shards: Sequence[range], loaders: int = 0) -> Iterator[range]:
        """Compute and write shards; yields each once it is written. ``loaders`` processes read ahead (0: none).

        Raises:
            UserError: a value is NaN or infinite, an image is broken or does not fit into the limit, or memory does not
                suffice for a single row.
        """
        there = self._there()
        reader = Reader(vlm, self.pool, self.view, self.reads(vlm), self.sizes.limit, self.sizes.tokens)
        size = self.sizes.batch_size
        planned = (batch for shard in shards for batch in batches_of(self.pool, self.view, shard, size))
        stream = read(reader, planned, loaders)
        for shard in shards:
            shares = Shares(vlm, list(self.wanted), self.view)
            values = self._values(vlm, stream, shard, reader, shares)
            for feature, folder in self.wanted.items():
                target, made = self._target(feature, shard), values[feature]
                if target != shard:  # of an image's rows the first one speaks for it
                    made = made[self._first[target.start : target.stop] - shard.start]
                save_missing(folder, target, made, feature, there[feature], partial(name_of, self.pool, feature.view))
                shares.save(folder, feature, shard)
            yield shard

    def _there(self) -> dict[Feature, np.ndarray]:
        return {feature: covered(folder, units_of(self.pool, feature)) for feature, folder in self.wanted.items()}

    @cached_property
    def _first(self) -> np.ndarray:
        """The first row that shows each unique image, ascending: images are numbered by first use; [images].

        No row shows several: see `selectmm.features.store.riders`.
        """
        shown = np.flatnonzero(self.pool.image_of >= 0)
        return shown[np.unique(self.pool.image_of[shown], return_index=True)[1]]

    def _target(self, feature: Feature, shard: range) -> range:
        """The units of a feature that a shard of this pass yields."""
        if feature.view != "image" or self.view == "image":
            return shard
        return range(*np.searchsorted(self._first, [shard.start, shard.stop]).tolist())

    @torch.no_grad()
    def _values(
        self, vlm: VLM, stream: Iterator[list[Loaded]], shard: range, reader: Reader, shares: Shares
    ) -> dict[Feature, np.ndarray]:
        """Of a shard, whose units come next in the stream, in another order; in the pool's order."""
        found: dict[Feature, np.ndarray] = {}
        done = 0
        with _adapter_in_its_models_dtype(vlm):
            while done < len(shard):
                start = time.perf_counter()
                read = next(stream)
                shares.waited(time.perf_counter() - start)
                for loaded in read:
                    done += len(loaded.units)
                    place = np.array(loaded.units) - shard.start
                    for feature, values in self._computed(vlm, loaded, reader, shares).items():
                        if feature not in found:
                            found[feature] = np.empty((len(shard), *values.shape[1:]), values.dtype)
                        found[feature][place] = values
        return found

    def _computed(self, vlm: VLM, loaded: Loaded, reader: Reader, shares: Shares) -> dict[Feature, np.ndarray]:
        """Values of rows at once or, where memory runs out, half of them at a time."""
        made = self._tried(vlm, loaded, shares)
        if made is not None:
            return made
        clear_device_cache(garbage_collection=True)
        halves = [self._computed(vlm, half, reader, shares) for half in reader.halves(loaded.units)]
        return {feature: np.concatenate([values[feature] for values in halves]) for feature in self.wanted}

    def _tried(self, vlm: VLM, loaded: Loaded, shares: Shares) -> dict[Feature, np.ndarray] | None:
        """None if memory ran out; nothing of the attempt is held then."""
        seen = Seen(vlm, loaded, self.reads(vlm), self.sizes.limit)
        try:
            with computing():
                return self._features_of(seen, shares)
        except UserError as problem:
            if not isinstance(problem.__cause__, ImageCut):
                raise
            raise UserError(f"{problem} (It is that of {self._named(loaded, problem.__cause__.rows[0])}.)") from problem
        except RuntimeError as problem:
            if not should_reduce_batch_size(problem):
                raise
            if len(loaded.units) == 1:
                raise UserError(
                    f"Memory ran out while features of {self._named(loaded, 0)} alone ({int(loaded.lengths[0]):,} "
                    f"tokens) were computed: lower recipe.max_length, or use a GPU with more memory."
                ) from problem
            return None

    def _features_of(self, seen: Seen, shares: Shares) -> dict[Feature, np.ndarray]:
        if any(not feature.reads().nothing for feature in self.wanted):
            with shares.passing():
                _ = seen._passed  # made now, so that it is timed apart from the features that look at it
        made: dict[Feature, np.ndarray] = {}
        for feature in sorted(self.wanted, key=lambda feature: isinstance(feature, GradientNorm)):
            start = shares.now()
            wider = wider_of(feature, made)  # the norms of projected gradients stand beside them
            with _encoder_of(feature):
                made[feature] = _values_of(feature, seen) if wider is None else made[wider][:, 0]
            shares.took(feature, shares.now() - start)
            if wider is not None:
                shares.would_take(feature, wider)
        return made

    def _named(self, loaded: Loaded, row: int) -> str:
        """One of the loaded rows (or images) in words."""
        return name_of(self.pool, self.view, loaded.units[row])


def _values_of(feature: Feature, seen: Seen) -> np.ndarray:
    """What a feature computes of a batch of n, [n, …].

    Raises:
        UserError: it is no tensor with one value for each of the n, which a feature of anybody's may give.
    """
    made = feature.compute(seen)
    if not isinstance(made, torch.Tensor) or made.shape[:1] != (len(seen),):
        given = f"shape {tuple(made.shape)}" if isinstance(made, torch.Tensor) else f"type {type(made).__name__}"
        raise UserError(
            f"{type(feature).__name__}.compute gave values of {given} for a batch of {len(seen)}; give a tensor of "
            f"shape ({len(seen)},) or ({len(seen)}, width)."
        )
    return made.cpu().numpy()


@contextmanager
def _adapter_in_its_models_dtype(vlm: VLM) -> Iterator[None]:
    """On a GPU, LoRA that the model carries has its dtype for the length of the block, as `_in_dtype_of` says."""
    carries = any(isinstance(module, LoraLayer) for module in vlm.model.modules())
    if not carries or vlm.model.device.type != "cuda":  # on a CPU values stay as they were to the last bit
        yield
        return
    with _in_dtype_of(vlm.model.dtype, lora_linears(vlm, "all_linear").values()):
        yield


def batches_of(pool: Pool, view: View, units: range, batch_size: int) -> list[list[int]]:
    """The batches of a shard, each of `batch_size` units at most.

    Rows are sorted by length inside blocks of `SORTED` batches, counted from the pool's first row: as long as a shard
    is of whole blocks, batches do not depend on how many.
    """
    block = SORTED * batch_size
    edges = [units.start, *range((units.start // block + 1) * block, units.stop, block), units.stop]
    ordered = [_by_length(pool, view, range(start, stop)) for start, stop in pairwise(edges)]
    return [some[at : at + batch_size].tolist() for some in ordered for at in range(0, len(some), batch_size)]


def _by_length(pool: Pool, view: View, units: range) -> np.ndarray:
    """Units from short to long, so that little of a batch is padding; [units] of int64.

    In characters, after rows without image and before rows with one: an image's tokens are unknown, and often more than
    all words.
    """
    if view == "image":
        return np.arange(units.start, units.stop)
    samples = [pool[row] for row in units]
    image = [sample.image is not None and view == "conversation" for sample in samples]
    said = [[len(t.text) for t in (answers_of(s) if view == "answer" else s.turns)] for s in samples]
    return units.start + np.lexsort(([sum(lengths) for lengths in said], image))


def takes_a_pass(feature: Feature) -> bool:
    """Whether rows are encoded for it at all; lengths, say, are counted without."""
    reads = feature.reads()
    return not reads.nothing or isinstance(feature, GradientNorm | ProjectedGradient)


def wider_of(feature: Feature, made: Iterable[Feature]) -> ProjectedGradient | None:
    """The projected gradients of the same scope, if they are among what was made, for gradient norms."""
    if not isinstance(feature, GradientNorm):
        return None
    return next((one for one in made if isinstance(one, ProjectedGradient) and one.scope == feature.scope), None)


def _encoder_of(feature: Feature) -> AbstractContextManager[None]:
    """A damaged encoder of a feature's own in one sentence.

    It is said here because a feature's values are named by its source: if its file said so, all would be computed anew.
    """
    own = getattr(feature, "checkpoint", None) or getattr(feature, "encoder", None)
    if own is None:
        return nullcontext()
    return reading(
        f"The encoder '{own}' of {type(feature).__name__} cannot be read or does not work; download it again"
    )


def _slice(units: range) -> slice:
    return slice(units.start, units.stop)
