"""The feature store: one pass over the pool feeds everything that is asked for, once."""

import math
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os.path import isdir
from pathlib import Path
from typing import Literal

import numpy as np

from selectmm.cache.progress import track
from selectmm.cache.source_code import source_of
from selectmm.cache.stage import Stage, find_stage, run_stage, write_atomically
from selectmm.errors import UserError
from selectmm.features.feature import Feature, View, units_of
from selectmm.features.gradients import GradientNorm, ProjectedGradient
from selectmm.features.norms import copy_norms, projected
from selectmm.features.onepass import CPU_TOKENS, Pass, Sizes, takes_a_pass
from selectmm.features.ranks import Ranks, run_over
from selectmm.features.reading import loaders_for
from selectmm.features.shards import VALUES, join
from selectmm.features.shares import SECONDS, noted_share_is_whole, share_of, sum_up, times_alone
from selectmm.models.forward import LAST
from selectmm.models.load import weights_of
from selectmm.models.together import TOKENS
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool

STAGE = "features"
PASS = "pass.txt"  # names the pass that a feature rode on

Partials = dict[Feature, Path]

_WAYS = {
    "pool": "choose a method that works on text, such as method=length or method=random",
    "targets": "set targets=… to examples with images, or choose a method that compares whole rows, "
    "such as method=rds_plus",
}


@dataclass(frozen=True)
class FeatureStore:
    """Feature values under ``cache``, one stage folder per feature, pool and model.

    Attributes:
        vlm: the target model.
        batch_size, shard, limit: see `Sizes`.
        ranks: the processes that make a pass; None for this one alone. Values do not depend on their number.
        at: where in a training the model is, for the progress bar, such as " at checkpoint 2 of 4".
    """

    cache: Path
    vlm: VLM
    batch_size: int
    shard: int
    limit: int
    ranks: Ranks | None = None
    at: str = ""

    def get(self, pool: Pool, features: Sequence[Feature]) -> dict[Feature, np.ndarray]:
        """Values of all ``features``, memory-mapped: [rows or unique images, …]. See `stages` for errors."""
        return values_of(self.stages(pool, features))

    def stages(self, pool: Pool, features: Sequence[Feature], others: Sequence[Feature] = ()) -> dict[Feature, Stage]:
        """The finished stage of each feature, computed now if need be: all that is missing rides on one pass.

        A feature's cost is that of the passes that were made with it, all of it (what it would cost alone is at most
        that). If ``others`` ride too, it is the measured share of it that the feature would have taken alone. What
        several features cost together is in `passes`.

        Args:
            others: what other jobs of a sweep will ask for. They ride along if a pass has to be made; if that fails, it
                is made without them, and whoever asks for them is told why.

        Raises:
            UserError: the pool has no image and a feature needs one, the model lacks a layer, or values came out as
                NaN.
        """
        self.check(pool, features)
        for feature in {*features, *others}:
            self._take_norms(pool, feature)
        own = sorted(set(features), key=repr)
        riding = (
            [] if self._all_there(pool, own) else [one for one in others if one not in own and self._fits(pool, one)]
        )
        finished: dict[Feature, Stage] = {}
        together = sorted({*own, *riding}, key=repr)
        try:
            self._run(pool, together, {}, finished, self._devices(pool, together), shared=bool(riding))
        except UserError:
            if not riding:
                raise
            finished = {}
            self._run(pool, own, {}, finished, self._devices(pool, own))
        return {feature: finished[feature] for feature in own}

    def _take_norms(self, pool: Pool, feature: Feature) -> None:
        """Norms that are missing are copied where projected gradients are there: the same pass made both."""
        gradients = projected_for(self.cache, feature, pool, self.vlm.identity, self.limit)
        identity = identity_of(feature, pool, self.vlm.identity, self.limit) if gradients else {}
        if gradients is not None and find_stage(self.cache, STAGE, identity) is None:
            copy_norms(self.cache, STAGE, identity, gradients, (PASS, SECONDS))

    def _all_there(self, pool: Pool, features: Sequence[Feature]) -> bool:
        """Whether no pass has to be made that others could ride on."""
        identities = [identity_of(one, pool, self.vlm.identity, self.limit) for one in features if takes_a_pass(one)]
        return all(find_stage(self.cache, STAGE, identity) is not None for identity in identities)

    def _fits(self, pool: Pool, feature: Feature) -> bool:
        """Whether `check` lets a feature pass."""
        try:
            self.check(pool, [feature])
        except UserError:
            return False
        return True

    def check(self, pool: Pool, features: Sequence[Feature], of: Literal["pool", "targets"] = "pool") -> None:
        """Whether pool and model have what the features read, before anything is computed; errors as `stages`.

        Args:
            of: what the rows are, the pool's or the target examples.
        """
        for feature in features:
            if units_of(pool, feature) == 0:
                raise UserError(f"{type(feature).__name__} needs images, but no row of the {of} has one; {_WAYS[of]}.")
            for layer in feature.reads().named - {0, LAST}:
                self.vlm.layer(layer)

    def _run(
        self,
        pool: Pool,
        waiting: list[Feature],
        partials: Partials,
        finished: dict[Feature, Stage],
        devices: int,
        shared: bool = False,
    ) -> None:
        """Enter the stage of each waiting feature, one inside the other; the innermost makes the pass for all.

        ``devices``: that the pass takes. ``shared``: among several jobs, so that each feature costs its share alone.
        """
        if not waiting:
            self._pass(pool, partials)
            sum_up(partials.values())
            return
        feature, rest = waiting[0], waiting[1:]
        entered = False

        def make(folder: Path) -> None:
            nonlocal entered
            entered = True
            self._run(pool, rest, {**partials, feature: folder}, finished, devices, shared)
            join(folder)

        identity = identity_of(feature, pool, self.vlm.identity, self.limit)
        share = share_of if shared else noted_share_is_whole
        finished[feature] = run_stage(self.cache, STAGE, identity, make, devices, share)
        if not entered:  # it was there already: the others still have to be looked at
            self._run(pool, rest, partials, finished, devices, shared)

    def _pass(self, pool: Pool, partials: Partials) -> None:
        """The passes of `riders`, one after the other."""
        tokens = CPU_TOKENS if self.vlm.model.device.type == "cpu" else TOKENS
        sizes = Sizes(self.batch_size, self.shard, self.limit, tokens)
        made = [
            Pass(pool, view, {feature: partials[feature] for feature in riding}, sizes, self.at)
            for view, riding in riders(pool, list(partials)).items()
        ]
        todo = [each.open_shards() for each in made]
        if not any(todo):  # a kill came after the last shard: the features that are finished bear the mark of that pass
            return
        mark = uuid.uuid4().hex
        for folder in partials.values():
            write_atomically(folder / PASS, mark)
        most = max(map(len, todo))
        if self.ranks is not None and min(self.ranks.count, most) > 1:
            run_over(replace(self.ranks, count=min(self.ranks.count, most)), self.vlm, made, todo)
            return
        for each, shards in zip(made, todo, strict=True):
            loaders = loaders_for(self.vlm.model.device, ranks=1)
            deque(track(each.compute(self.vlm, shards, loaders), each.name, len(shards)), maxlen=0)

    def _devices(self, pool: Pool, features: Sequence[Feature]) -> int:
        """How many devices a pass for those of the features takes that are missing: a shard is computed by one."""
        if self.ranks is None:
            return 1
        identities = {one: identity_of(one, pool, self.vlm.identity, self.limit) for one in features}
        missing = [one for one, identity in identities.items() if find_stage(self.cache, STAGE, identity) is None]
        most = max((units_of(pool, one) for one in missing), default=1)
        return min(self.ranks.count, math.ceil(most / self.shard))


def values_of(stages: Mapping[Feature, Stage]) -> dict[Feature, np.ndarray]:
    """Values of finished features, memory-mapped."""
    return {feature: np.load(stage.folder / VALUES, mmap_mode="r") for feature, stage in stages.items()}


def projected_for(cache: Path, feature: Feature, pool: Pool, model: str, limit: int) -> Stage | None:
    """For gradient norms the finished projected gradients that have them as a column; see `identity_of`."""
    if not isinstance(feature, GradientNorm):
        return None
    return projected(cache, STAGE, identity_of(ProjectedGradient(scope=feature.scope), pool, model, limit))


def identity_of(feature: Feature, pool: Pool, model: str, limit: int) -> dict[str, object]:
    """Of a feature's stage: what its values follow from. ``model`` is a `VLM`'s identity, ``limit`` tokens per row."""
    # Earlier versions took such images' states from rows that show them after words, or from a pass of their own,
    # whichever came first.
    alone = feature.view == "image" and not len(pool.several) and not images_come_first(pool)
    return {
        "feature": source_of(feature),
        "options": asdict(feature),
        "pool": pool.fingerprint,
        "model": model,
        "limit": limit,
        "version": 2,
        **({"images": "alone"} if alone else {}),
        **own_encoder(feature),
    }


def own_encoder(feature: Feature) -> dict[str, str]:
    """The content of a folder that a feature's own encoder lies in: another may lie there later."""
    folder = getattr(feature, "checkpoint", None) or getattr(feature, "encoder", None)
    return {"encoder": weights_of(folder)} if folder and isdir(folder) else {}


def riders(pool: Pool, features: Sequence[Feature]) -> dict[View, list[Feature]]:
    """Which features ride on which pass: one over the rows, one over the answers alone, one over the unique images.

    Only the passes that are wanted. Image features ride on the pass over the rows if there is one: an image's first row
    shows it. They have a pass of their own where a row shows several images, or shows one after words (in a later
    question, or behind a system prompt of its own or tools): its states would depend on what stands before it.
    """
    views = {feature.view for feature in features}
    if "conversation" not in views:
        return {view: [f for f in features if f.view == view] for view in sorted(views)}
    riding = not len(pool.several) and images_come_first(pool)
    together: set[View] = {"image", "conversation"} if riding else {"conversation"}
    alone = {view: [f for f in features if f.view == view] for view in sorted(views - together)}
    return {**alone, "conversation": [f for f in features if f.view not in alone]}


def images_come_first(pool: Pool) -> bool:
    """Whether every row that shows an image shows it in its first turn, where nothing of its own stands before it."""
    if "image_turn" not in pool.table.column_names:
        return True
    return not (pool.image_of >= 0)[pool.table["image_turn"].fill_null(0).to_numpy() > 0].any()


def passes(stages: Sequence[Stage]) -> list[Stage]:
    """One stage for all that were made together, the dearest of them: these stages cost what was spent.

    If other jobs' features rode along, what it costs is the measured share that all of ``stages`` would have taken.
    """
    rode: dict[str, list[Stage]] = {}
    for stage in stages:
        rode.setdefault((stage.folder / PASS).read_text(), []).append(stage)
    return [_charged(together) for together in rode.values()]


def _charged(together: Sequence[Stage]) -> Stage:
    dearest = max(together, key=lambda stage: stage.cost.seconds)
    times = times_alone(dearest.folder, [stage.folder for stage in together])
    return replace(dearest, cost=dearest.cost.part(times))
