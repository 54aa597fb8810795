"""The stages of one job before it runs: the same identities as the run's, as far as they can be known."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selectmm.cache.cost import Cost
from selectmm.cache.stage import find_stage, fingerprint
from selectmm.contamination import check as contamination
from selectmm.counted import counted
from selectmm.evaluation.suite import Suite
from selectmm.experiment import Experiment
from selectmm.features import store
from selectmm.features.feature import Feature, Features, View, units_of
from selectmm.features.onepass import SORTED, takes_a_pass
from selectmm.flops.formulas import Load
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset, load_subset
from selectmm.models.vlm import VLM
from selectmm.planning.in_turns import in_turns
from selectmm.planning.items import items_of
from selectmm.planning.load import Loads
from selectmm.planning.serving import DEFAULT, served
from selectmm.planning.stages import Planned, State
from selectmm.planning.work import Device, Work
from selectmm.pool.pool import Pool
from selectmm.schedules.static import Static
from selectmm.stages import finetune, select
from selectmm.stages.evaluate import EVALUATION, evaluation_identity
from selectmm.stages.scale import too_few_steps
from selectmm.tuning.adapter import identity_with
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.snapshots import snapshots_in


@dataclass(frozen=True)
class Model:
    """The model as shapes, as a run on this machine would open it, and how it would lie on the device asked for.

    Attributes:
        room: bytes of that device's memory; None if vLLM cannot serve the model there.
        published: whether it is one of `selectmm.planning.known.models`, of which no file is here.
    """

    vlm: VLM
    device: Device
    room: float | None = None
    published: bool = False


@dataclass(frozen=True)
class Job:
    """One job. An identity that needs a result which is not there has a mark instead that begins with ``?``.

    Attributes:
        model: None if its configuration is not there.
        loads: measures rows. planned: marks of what earlier jobs make; grows.
        others: features that jobs of the same sweep read of the same model and pool.
    """

    experiment: Experiment
    pool: Pool
    model: Model | None
    loads: Loads
    planned: set[str]
    others: Sequence[Feature] = ()

    def stages(self) -> list[Planned]:
        """The stages, in the order of the run.

        Raises:
            UserError: the targets cannot be opened, or the pool does not fit the method.
        """
        counts = f"{counted(len(self.pool.images), 'image')} of {counted(len(self.pool.counts()), 'source')}"
        opened = self.pool.fingerprint not in self.loads.known
        pool = Planned("pool", counts, [self.pool.fingerprint], "cached" if opened else "not here", len(self.pool))
        if not isinstance(self.experiment.schedule, Static):
            turns = in_turns(self)
            return [pool, *self._check(), *turns, *self._evaluated(turns[-1])]
        asked = self.experiment
        needs = asked.method.needs()
        targets = select.targets_of(asked.open_targets, asked.suite, asked.method_name, needs)
        warmup = self._warmup(needs)
        passes: list[Planned] = []
        marks: list[str] = []
        for read, features, of, point in self._reads(needs, targets):
            made, own = self._features(read, features, needs, warmup, of, point)
            passes, marks = passes + made, marks + own
        subset, chosen = self._subset(needs, marks)
        tuned = self._finetune(subset, chosen)
        before = [pool, *self._check(), *([warmup] if warmup else []), *passes]
        return [*before, subset, tuned, *self._evaluated(tuned)]

    def _check(self) -> list[Planned]:
        """The look for the suite's items in the pool, if the run is to take it; it decodes every image."""
        if not self.experiment.contamination:
            return []
        *_, identity = contamination.identities_of(self.pool, self.experiment.suite)
        made = Planned("check", "the suite's items in the pool", (), "to do", len(self.pool.images))
        return [self._stage(contamination.STAGE, identity, made, None)]

    def _stage(self, stage: str, identity: dict[str, Any], made: Planned, waits_for: State | None) -> Planned:
        """``made`` with its mark and state; ``waits_for``: what keeps its identity from being known."""
        mark = fingerprint(identity) if waits_for is None else f"?{fingerprint(identity)}"
        found = find_stage(self.experiment.cache, stage, identity) if waits_for is None else None
        if found is not None:
            return replace(made, marks=[mark], state="cached", cost=found.cost, folder=found.folder)
        shared = mark in self.planned
        self.planned.add(mark)
        return replace(made, marks=[mark], state="shared" if shared else waits_for or "to do")

    def _waits(self, *marks: str, result: State) -> State | None:
        """Why something that is made of ``marks`` cannot be named yet; None if it can."""
        if any(mark.startswith("?") for mark in marks):
            return result if self.model else "unknown"
        return None

    @property
    def _nodes(self) -> int:
        nodes = self.experiment.config.get("nodes", 1)
        return nodes if isinstance(nodes, int) else 1

    @property
    def _identity(self) -> str:
        return self.model.vlm.identity if self.model else "?model"

    def _load(self, pool: Pool, view: View, rows: np.ndarray) -> Load:
        return self.loads.of(self.model.vlm, pool, view, rows, self.experiment.recipe.max_length)

    def _trained(self, name: str, rows: np.ndarray | None, subset: str, recipe: Recipe, snapshots: int = 0) -> Planned:
        """A fine-tuning on rows, or on as many of the whole pool's kind as the budget allows if they are not known."""
        experiment = self.experiment
        count = select.rows_for(experiment.budget, self.pool) if rows is None else len(rows)
        steps = recipe.steps(len(self.pool), count)
        seen = steps * recipe.batch_size
        work = Work()
        if self.model:
            load = self._load(self.pool, "conversation", np.arange(len(self.pool)) if rows is None else rows)
            work = self.model.device.train(load.as_many_as(seen), recipe, experiment.strategy)
        kept = max(1, min(snapshots, steps))
        if work.disk is not None and snapshots:
            work = replace(work, disk=3 * kept * work.disk)  # weights, and Adam's two moments of them
        asked = experiment.strategy, experiment.seed, self.pool, subset, self._identity, experiment.device
        identity = finetune.identity_of(*asked, recipe, steps, snapshots)
        if name == "finetune" and (points := finetune.points_of(experiment.curve, steps)):
            identity["points"] = list(points)
        what = f"{counted(steps, 'step')} of {recipe.batch_size}"
        if too_few_steps(recipe, steps, name):
            what += ", at a rate of 0 by recipe.warmup: learns nothing"
        made = Planned(name, what, (), "to do", seen, work, devices=experiment.strategy.devices)
        waits = self._waits(subset, self._identity, result="depends on the choice")
        return self._stage(finetune.STAGE, identity, made, waits)

    def _warmup(self, needs: Needs) -> Planned | None:
        if needs.warmup is None:
            return None
        rows, recipe = select.warmup_of(needs.warmup, self.pool, self.experiment.recipe, self.experiment.seed)
        return self._trained("warm-up", rows, Subset(rows).fingerprint, recipe, needs.snapshots)

    def _reads(self, needs: Needs, targets: Pool | None) -> Iterator[tuple[Pool, Sequence[Feature], str, int]]:
        """What is read: pool, features, words for it, and the point of the warm-up that reads it (-1: its end)."""
        for point in range(max(1, needs.snapshots)):
            at = f" at checkpoint {point + 1}" if needs.snapshots else ""
            yield self.pool, needs.features, at, point
            if targets is not None:
                yield targets, needs.of_targets, f" of the targets{at}", point
        if needs.reference:
            rows, _ = select.warmup_of(needs.warmup, self.pool, self.experiment.recipe, self.experiment.seed)
            yield select.reference_of(self.pool, rows), needs.reference, " of the warm-up's rows", -1

    def _features(
        self, pool: Pool, features: Sequence[Feature], needs: Needs, warmup: Planned | None, of: str, point: int
    ) -> tuple[list[Planned], list[str]]:
        """What is there, and one entry for each pass that the rest would ride on; and the marks of this job's own.

        If this job has to pass over the pool, what other jobs read there rides along.

        Args:
            point: of the warm-up.
        """
        model = self._identity
        if warmup is not None and warmup.folder:
            adapters = snapshots_in(warmup.folder) if needs.snapshots else [(warmup.folder, 1.0)]
            if point >= len(adapters):  # the training had fewer steps
                return [], []
            model = identity_with(model, adapters[point][0])
        elif warmup is not None:
            model = f"?{warmup.marks[0]}" + (f"/{point}" if needs.snapshots else "")
        waits = self._waits(model, result="depends on the warm-up")

        def planned(feature: Feature) -> Planned:
            identity = store.identity_of(feature, pool, model, self.experiment.recipe.max_length)
            units = units_of(pool, feature)
            made = Planned("features", type(feature).__name__ + of, (), "to do", units, devices=self._ranks(units))
            return self._with_norms(self._stage(store.STAGE, identity, made, waits), feature, pool, model)

        alone = {feature: planned(feature) for feature in sorted(set(features), key=repr)}
        marks = [mark for stage in alone.values() for mark in stage.marks]
        if not of and any(takes_a_pass(feature) and not stage.reused for feature, stage in alone.items()):
            riding = {feature: planned(feature) for feature in self.others if feature not in alone}
            alone |= {feature: stage for feature, stage in riding.items() if not stage.reused}
        rank = needs.warmup.rank if needs.warmup else 0
        passes = []
        for state in dict.fromkeys(stage.state for stage in alone.values()):
            same = {feature: stage for feature, stage in alone.items() if stage.state == state}
            for view, together in store.riders(pool, list(same)).items():
                passes.append(self._pass(pool, view, {feature: same[feature] for feature in together}, rank, of))
        return passes, marks

    def _with_norms(self, stage: Planned, feature: Feature, pool: Pool, model: str) -> Planned:
        """Gradient norms count as cached where projected gradients are, of which a run copies them."""
        limit = self.experiment.recipe.max_length
        found = store.projected_for(self.experiment.cache, feature, pool, model, limit) if not stage.reused else None
        return stage if found is None else replace(stage, state="cached", cost=found.cost, folder=found.folder)

    def _ranks(self, units: int) -> int:
        """Devices that a pass takes: a shard is computed by one."""
        return min(self.experiment.devices, math.ceil(units / (SORTED * self.experiment.batch_size)))

    def _pass(self, pool: Pool, view: View, riding: dict[Feature, Planned], rank: int, of: str) -> Planned:
        units = len(pool.images) if view == "image" else len(pool)
        work, first = Work(), next(iter(riding.values()))
        if self.model:
            load = self._load(pool, view, np.arange(units))
            work = self.model.device.features(load, list(riding), rank, self.experiment.batch_size)
        # Features of one pass have its whole cost each.
        cost = max((stage.cost for stage in riding.values() if stage.cost), key=_seconds, default=None)
        names = " + ".join(type(feature).__name__ for feature in riding)
        marks = [mark for stage in riding.values() for mark in stage.marks]
        return replace(first, what=names + of, marks=marks, rows=units, work=work, cost=cost)

    def _subset(self, needs: Needs, features: Sequence[str]) -> tuple[Planned, np.ndarray | None]:
        """The choice and, if it is cached or needs nothing that has to be computed, the chosen rows."""
        experiment = self.experiment
        disk = 8 * (len(self.pool) + select.rows_for(experiment.budget, self.pool))  # digits, and a score per row
        name = experiment.method_name
        made = Planned("subset", name, (), "to do", len(self.pool), Work(disk=disk))
        waits = self._waits(*features, result="depends on the warm-up")
        choice = experiment.method, experiment.budget, experiment.seed
        subset = self._stage(select.STAGE, select.identity_of(*choice, self.pool, features), made, waits)
        if subset.folder is not None:
            return subset, load_subset(subset.folder / "subset.json", self.pool).rows
        if not needs.features and needs.warmup is None:
            return subset, select.chosen_by(*choice, self.pool, Features({})).rows
        return subset, None

    def _finetune(self, subset: Planned, rows: np.ndarray | None) -> Planned:
        chosen = f"?{subset.marks[0]}" if rows is None else Subset(rows).fingerprint
        return self._trained("finetune", rows, chosen, self.experiment.recipe)

    def _evaluated(self, tuned: Planned) -> list[Planned]:
        """The evaluation at the end, after those on the way if ``curve`` asks for some."""
        last, before = self._evaluate(tuned), self.experiment.curve - 1
        if before == 0:
            return [last]
        rows = None if last.rows is None else last.rows * before
        by_engine = None if last.by_engine is None else last.by_engine.times(before)
        what, work = f"{last.what}, {before} times on the way", last.work.times(before)
        way = replace(last, what=what, rows=rows, work=work, by_engine=by_engine, cost=None, folder=None)
        return [way, last]

    def _evaluate(self, tuned: Planned) -> Planned:
        suite: Suite = self.experiment.suite
        counts = items_of(suite)
        items = None if None in counts.values() else sum(counts.values())
        engine, gpus, nodes = self.experiment.engine, self.experiment.devices, self._nodes
        work, by_engine = Work(), None
        if self.model:
            load, device = self._load(self.pool, "conversation", np.arange(len(self.pool))), self.model.device
            work, room = device.evaluate(load, counts, suite), self.model.room
            if engine is not None and room is not None:
                gpus = gpus // nodes  # those of the first node alone
                work = served(device, load, counts, suite, engine, gpus, room)
            elif room is not None and nodes == 1:
                by_engine = served(device, load, counts, suite, DEFAULT, gpus, room)
        what = f"{counted(len(suite.benchmarks), 'benchmark')}, suite {suite.name}{', by vLLM' if engine else ''}"
        made = Planned("evaluate", what, (), "to do", items, work, devices=gpus, by_engine=by_engine)
        identity = evaluation_identity(suite, tuned.marks[0], engine)
        return self._stage(EVALUATION, identity, made, self._waits(*tuned.marks, result="depends on the choice"))


def _seconds(cost: Cost) -> float:
    return cost.device_seconds
