"""The second stage: compute everything that a method needs, then choose rows."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.budget import rows_for
from selectmm.cache.no_links import refuse_links
from selectmm.cache.source_code import source_of
from selectmm.cache.stage import Stage, fingerprint, options_of, run_stage
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.features.feature import Feature, Features, Reference, Targets
from selectmm.features.onepass import SORTED
from selectmm.features.ranks import Ranks
from selectmm.features.store import FeatureStore, passes, values_of
from selectmm.methods.method import Method, Needs
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.source_warmup import SourceWarmUp
from selectmm.methods.subset import Subset, coverage_lines, load_subset, save_subset
from selectmm.methods.warmup import WarmUp
from selectmm.models.check_rows import fitting
from selectmm.models.vlm import VLM
from selectmm.pool.places import places_digest
from selectmm.pool.pool import Pool
from selectmm.pool.table import taken
from selectmm.stages.choice import Checked
from selectmm.stages.finetune import train
from selectmm.stages.summary import cost_of, time_of
from selectmm.stages.sweep import others_of
from selectmm.stages.targets import targets_of
from selectmm.tuning.adapter import carry_adapter
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.snapshots import snapshots_in

log = logging.getLogger("selectmm")

STAGE = "subset"


@dataclass(frozen=True)
class Selection:
    """What was chosen, and the stages that it took.

    Attributes:
        warmup: the short training that the features were taken after, if the method has one.
        features: one stage per pass that was made, over the pool or the target examples.
        chosen: holds ``subset.json``.
    """

    subset: Subset
    warmup: Stage | None
    features: list[Stage]
    chosen: Stage

    @property
    def stages(self) -> list[Stage]:
        """All of them, in order."""
        return [*([self.warmup] if self.warmup else []), *self.features, self.chosen]


def select_rows(experiment: Experiment, pool: Pool, vlm: VLM) -> Selection:
    """Compute what the method needs (`select`), then choose rows."""
    with experiment.tracker.stage("select", experiment.config) as tracked:
        selection = select(experiment, pool, vlm)
        chosen, subset = selection.chosen, selection.subset
        tracked.summary({"kept": len(subset.rows), **cost_of(chosen), "coverage": subset.coverage(pool)})
        parents, name = [f"pool-{pool.fingerprint}"], f"subset-{subset.fingerprint}"
        tracked.artifact(chosen.folder / "subset.json", name, "subset", made_from=parents)
    log.info("  select    %s of %s rows %s", f"{len(subset.rows):,}", f"{len(pool):,}", time_of(*selection.stages))
    for line in coverage_lines(subset, pool):
        log.info("            %s", line)
    return selection


def select(experiment: Experiment, pool: Pool, vlm: VLM) -> Selection:
    """Warm up if the method asks for it, compute its features, choose rows.

    Raises:
        UserError: pool, model or targets lack what the method needs; said before anything is computed.
    """
    needs = experiment.method.needs()
    targets = check_selectable(experiment, pool, vlm)
    warmup = warm(experiment, pool, vlm, needs)
    points = _points(needs, warmup)
    computed = [_computed(experiment, pool, targets, vlm, needs, point) for point in points]
    reference = _reference(experiment, pool, vlm, needs, warmup)

    def features() -> Features:
        opened = tuple(each.features(targets) for each in computed)
        given = None if reference is None else Reference(reference.rows, values_of(reference.stages))
        return replace(opened[-1], reference=given, snapshots=opened if needs.snapshots else ())

    everything = [stage for each in computed for stage in each.stages]
    everything += [] if reference is None else list(reference.stages.values())
    chosen = _choose(experiment, pool, features, everything)
    subset = load_subset(chosen.folder / "subset.json", pool)
    _warn_of_size(experiment.method_name, experiment.budget, pool, len(subset.rows))
    return Selection(subset, warmup, passes(everything), chosen)


def _warn_of_size(method: str, budget: float, pool: Pool, kept: int) -> None:
    """Say that a method keeps another number of rows than asked; full does by its name."""
    if method != "full" and kept != (asked := rows_for(budget, pool)):
        log.warning(
            "  %s kept %s, not the %s of the budget; compare it with method=random budget=%d.",
            method, counted(kept, "row"), f"{asked:,}", kept,
        )  # fmt: skip


@dataclass(frozen=True)
class Computed:
    """Finished features at one point: of the model as it is, or of a point of the warm-up, at that ``rate``."""

    pool: Mapping[Feature, Stage]
    targets: Mapping[Feature, Stage]
    rate: float

    @property
    def stages(self) -> list[Stage]:
        """The stages of the pool's features and of the targets'."""
        return [*self.pool.values(), *self.targets.values()]

    def features(self, targets: Pool | None) -> Features:
        """Their values, memory-mapped."""
        given = None if targets is None else Targets(targets, values_of(self.targets))
        return Features(values_of(self.pool), given, rate=self.rate)


@dataclass(frozen=True)
class ComputedReference:
    """The warm-up's rows and their finished features."""

    rows: np.ndarray
    stages: Mapping[Feature, Stage]


@dataclass(frozen=True)
class Point:
    """Where features are computed: with an adapter (None: the model as it is), its learning rate, and where that is."""

    adapter: Path | None
    rate: float = 1.0
    at: str = ""


def _points(needs: Needs, warmup: Stage | None) -> list[Point]:
    if warmup is None or not needs.snapshots:
        return [Point(warmup.folder if warmup else None)]
    found = snapshots_in(warmup.folder)
    if len(found) < needs.snapshots:
        log.info("            %d of %d checkpoints: the warm-up takes no more steps", len(found), needs.snapshots)
    return [Point(*each, f" at checkpoint {number} of {len(found)}") for number, each in enumerate(found, 1)]


def _computed(
    experiment: Experiment, pool: Pool, targets: Pool | None, vlm: VLM, needs: Needs, point: Point
) -> Computed:
    with nullcontext(vlm) if point.adapter is None else carry_adapter(vlm, point.adapter) as carried:
        store = replace(store_of(experiment, carried, point.adapter), at=point.at)
        own = store.stages(pool, needs.features, () if needs.snapshots else others_of(experiment))
        return Computed(own, {} if targets is None else store.stages(targets, needs.of_targets), point.rate)


def _reference(
    experiment: Experiment, pool: Pool, vlm: VLM, needs: Needs, warmup: Stage | None
) -> ComputedReference | None:
    if warmup is None or not needs.reference:
        return None
    rows, _ = warmup_of(needs.warmup, pool, experiment.recipe, experiment.seed)
    with carry_adapter(vlm, warmup.folder) as carried:
        stages = store_of(experiment, carried, warmup.folder).stages(reference_of(pool, rows), needs.reference)
    return ComputedReference(rows, stages)


def reference_of(pool: Pool, rows: np.ndarray) -> Pool:
    """Some rows of the pool as a pool of their own."""
    mark = fingerprint({"pool": pool.fingerprint, "rows": rows.tolist()})
    return Pool(taken(pool.table, rows), pool.image_root, mark, frames=pool.frames)


def share_passes(experiments: Sequence[Experiment], pool: Pool, vlm: VLM) -> list[Stage]:
    """Compute what several methods need in as few passes as one method would take; `select` then finds it cached.

    A method with a warm-up is passed over: its features are of the model after the warm-up, which no other method uses.

    Args:
        experiments: at least one; they differ in their method alone.

    Returns:
        One stage per pass, over the pool or the target examples.
    """
    sharing = [(one, one.method.needs()) for one in experiments]
    sharing = [(one, needs) for one, needs in sharing if needs.warmup is None]
    store = store_of(experiments[0], vlm, None)
    stages = list(store.stages(pool, _features_of(sharing)).values())
    aiming = [(one, needs) for one, needs in sharing if needs.targets]
    if aiming:
        first, wanted = aiming[0]
        targets = targets_of(first.open_targets, first.suite, first.method_name, wanted)
        stages += store.stages(targets, _features_of(aiming)).values()
    return passes(stages)


def _features_of(sharing: Sequence[tuple[Experiment, Needs]]) -> list[Feature]:
    return list(dict.fromkeys(feature for _, needs in sharing for feature in needs.features))


def check_selectable(experiment: Experiment, pool: Pool, vlm: VLM, needs: Needs | None = None) -> Pool | None:
    """What can be known before anything is computed; returns the target examples, if the method chooses for them.

    Args:
        needs: what will be needed, if it is not what the method needs.

    Raises:
        UserError: pool, model or targets lack what the method needs.
    """
    needs = needs or experiment.method.needs()
    targets = targets_of(experiment.open_targets, experiment.suite, experiment.method_name, needs)
    _check_pool(experiment.method_name, pool, needs)
    store = store_of(experiment, vlm, None)
    store.check(pool, [*needs.features, *needs.reference])
    if targets is not None:
        store.check(targets, needs.of_targets, "targets")
        # Few and chosen by hand: none of them is dropped.
        fitting(targets, vlm, experiment.recipe.max_length, "stop", experiment.cache, "targets")
    return targets


def _check_pool(name: str, pool: Pool, needs: Needs) -> None:
    """Whether the rows are of the kind that the method chooses among."""
    if needs.images and len(pool.images) == 0:
        raise UserError(
            f"method={name} ranks rows by their images, but no row of the pool has one; choose a "
            f"method that works on text, such as method=length or method=random."
        )
    if needs.sources and len(pool.counts()) < 2:
        raise UserError(
            f"method={name} shares the budget out among the pool's sources, but all rows are of "
            f"'{pool.sources[0]}'; give rows a field 'source', or use another method."
        )


def store_of(experiment: Experiment, vlm: VLM, adapter: Path | None, cache: Path | None = None) -> FeatureStore:
    """Features of ``vlm``, which carries the adapter in a folder if there is one; kept in ``cache`` or the run's."""
    size, limit = experiment.batch_size, experiment.recipe.max_length
    ranks = Ranks(experiment.devices, experiment.config["model"], adapter, experiment.nodes)
    return FeatureStore(cache or experiment.cache, vlm, size, SORTED * size, limit, ranks)


def warm(experiment: Experiment, pool: Pool, vlm: VLM, needs: Needs) -> Stage | None:
    """Train the warm-up, if there is one."""
    if needs.warmup is None:
        return None
    rows, recipe = warmup_of(needs.warmup, pool, experiment.recipe, experiment.seed)
    return train(experiment, pool, vlm, rows, recipe, "warmup", snapshots=needs.snapshots)


def warmup_of(
    warmup: WarmUp | RandomWarmUp | SourceWarmUp, pool: Pool, recipe: Recipe, seed: int
) -> tuple[np.ndarray, Recipe]:
    """The rows that a warm-up trains on, [n] of int64, and how, in a run with this recipe and seed."""
    rng = np.random.default_rng([seed, 1])  # other rows than the draw with this seed would begin with
    return warmup.rows(pool, rng), warmup.recipe(recipe)


def _choose(experiment: Experiment, pool: Pool, features: Callable[[], Features], stages: list[Stage]) -> Stage:
    choice = experiment.method, experiment.budget, experiment.seed

    def make(folder: Path) -> None:
        chosen = chosen_by(*choice, pool, features())
        refuse_links([folder / "scores.npy"])
        save_subset(chosen, pool, folder)

    identity = identity_of(*choice, pool, [stage.fingerprint for stage in stages])
    return run_stage(experiment.cache, STAGE, identity, make)


def identity_of(method: Method, budget: float, seed: int, pool: Pool, features: Iterable[str]) -> dict[str, Any]:
    """The identity of the subset's stage. ``features`` are the fingerprints of their stages."""
    named = {"places": places_digest(pool)} if method.needs().places else {}
    return {
        "pool": pool.fingerprint,
        "features": sorted(features),
        "method": source_of(method),
        "options": options_of(method),
        "rows": rows_for(budget, pool),
        "seed": seed,
        "version": 2,
        **named,
    }


def chosen_by(method: Method, budget: float, seed: int, pool: Pool, features: Features) -> Subset:
    """The method's choice with a run's budget and seed; errors as `Checked`."""
    return Checked(method).select(pool, features, rows_for(budget, pool), np.random.default_rng(seed))
