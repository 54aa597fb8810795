"""Follow a schedule: every request is a finished folder before the next one begins, so a killed run goes on from there.

All of it lies inside the folder of one stage. What a later request does not need (the optimiser's state, the adapter of
all parts but the last, the losses of rows) is deleted as soon as the next part is trained.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.cache.cost import Cost
from selectmm.cache.no_links import open_unlinked, refuse_links
from selectmm.cache.stage import Stage, fingerprint, run_stage, write_atomically
from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.features.feature import Feature, Features, Targets
from selectmm.features.store import passes
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.table import taken
from selectmm.schedules.forecast import part_of
from selectmm.schedules.request import check_request
from selectmm.schedules.schedule import Course, Requests, Score, Scored, Train
from selectmm.stages.select import store_of, warm, warmup_of
from selectmm.tuning.adapter import carry_adapter
from selectmm.tuning.adapter_file import CONFIG, WEIGHTS
from selectmm.tuning.callback import LOSSES, POINTS, row_losses_of
from selectmm.tuning.finetune import train_task
from selectmm.tuning.full import TRAINED
from selectmm.tuning.job import HANDED_ON, Part, Task
from selectmm.tuning.plan import planned

ROUNDS, VISITS, ANSWER = "rounds", "visits.npy", "answer.npy"
PASS = "pass"  # folder of a scoring: the feature store's, while the pass is made
LEARNED = (WEIGHTS, CONFIG, TRAINED)


@dataclass(frozen=True)
class Trained:
    """One part of the training, and what was scored for it since the part before.

    Attributes:
        folder: holds ``visits.npy``, ``losses.jsonl``, ``train.json``, and `POINTS`.
        warmup, scoring: cost of models that only scoring was for, and of scoring.
    """

    folder: Path
    first: int
    steps: int
    scored: int
    warmup: Cost
    scoring: Cost
    tuning: Cost


@dataclass
class Rounds:
    """One run of a schedule.

    Attributes:
        vlm: without what was learned. targets: examples of the benchmarks, where the method chooses for them.
        folder: exists; empty, or what a killed run left there.
        points: steps after which what is learned is kept.
        trained: the parts so far. choosing: seconds that the schedule itself has taken.
    """

    experiment: Experiment
    pool: Pool
    vlm: VLM
    targets: Pool | None
    course: Course
    folder: Path
    points: tuple[int, ...]
    log: Callable[[dict[str, float]], None]
    trained: list[Trained] = field(default_factory=list)
    choosing: float = 0.0
    _charged: set[str] = field(default_factory=set)  # fingerprints of stages outside of this one: each is paid once
    _scored: int = 0
    _warmup: Cost = field(default_factory=Cost)
    _scoring: Cost = field(default_factory=Cost)

    def follow(self) -> None:
        """Answer all requests.

        Raises:
            UserError: the schedule asks for other steps than the run has, or for what cannot be (`check_request`); see
                `train_task` and `FeatureStore.stages`.
        """
        rng = np.random.default_rng(self.experiment.seed)
        asking, answer = self.experiment.schedule.rounds(self.course, rng), None
        for number, request in enumerate(self._requests(asking)):
            check_request(self.experiment.schedule, request, self.course)
            answer = self._train(number, request) if isinstance(request, Train) else self._score(number, request)
            self._answer = answer
        if self._done != self.course.steps:
            raise UserError(f"The schedule ended after {self._done:,} of {self.course.steps:,} optimiser steps.")

    def _requests(self, asking: Requests) -> Iterator[Score | Train]:
        """The schedule's own time is measured: a run that goes on asks it for everything again."""
        self._answer = None
        while True:
            since = time.perf_counter()
            try:
                request = asking.send(self._answer)
            except StopIteration:
                return
            finally:
                self.choosing += time.perf_counter() - since
            yield request

    @property
    def _done(self) -> int:
        return self.trained[-1].first + self.trained[-1].steps if self.trained else 0

    @property
    def _last(self) -> Path | None:
        """The folder of the part that was trained last."""
        return self.trained[-1].folder if self.trained else None

    def _train(self, number: int, request: Train) -> np.ndarray:
        first, last, rows = self._done, self._done + request.steps, np.asarray(request.rows, np.int64)
        if request.steps < 1 or last > self.course.steps:
            raise UserError(f"The schedule trains steps {first + 1} to {last} of a run of {self.course.steps}.")
        weights = None if request.weights is None else tuple(np.asarray(request.weights, np.float64).tolist())
        identity: dict[str, Any] = {"number": number, "first": first, "last": last, "ordered": request.ordered}
        identity |= {"rows": fingerprint({"rows": rows.tolist()}), "weights": fingerprint({"weights": weights})}
        before = None if self._last is None else str(self._last.resolve())

        def make(folder: Path) -> None:
            recipe, strategy = self.experiment.recipe, self.experiment.strategy
            part = Part(first, last, before, request.ordered, weights)
            points = tuple(point for point in self.points if first < point <= last)
            task = Task(recipe, strategy, self.course.steps, self.experiment.seed, part, points)
            chosen = Pool(taken(self.pool.table, rows), self.pool.image_root, "", frames=self.pool.frames)
            every = np.arange(len(rows))
            build, nodes = self.experiment.config["model"], self.experiment.nodes
            train_task(self.vlm, chosen, every, task, folder, self.log, build, nodes)
            _save(folder / VISITS, rows[planned(chosen, every, task)])
            _save(folder / ANSWER, _last_losses(folder, len(rows)))

        stage = run_stage(self.folder / ROUNDS, "train", identity, make, devices=self.experiment.strategy.devices)
        if self._last is not None:
            lighten(self._last)
        spent = self._scored, self._warmup, self._scoring
        self.trained.append(Trained(stage.folder, first, request.steps, *spent, stage.cost))
        self._scored, self._warmup, self._scoring = 0, Cost(), Cost()
        return np.load(stage.folder / ANSWER)

    def _score(self, number: int, request: Score) -> Scored:
        rows, needs = np.asarray(request.rows, np.int64), request.needs
        part, features = part_of(self.pool, rows), list(dict.fromkeys(needs.features))
        targets = self.targets if needs.targets else None
        warmed_on = np.empty(0, np.int64)
        if not features:
            return Scored(part, Features({}, None if targets is None else Targets(targets, {})), warmed_on)
        if needs.warmup is not None:
            warmed_on, _ = warmup_of(needs.warmup, self.pool, self.experiment.recipe, self.experiment.seed)
        if needs.warmup is not None or self._last is None:
            values, other = self._score_untrained(part, targets, features, request)
        else:
            values, other = self._score_now(number, part, targets, features)
        return Scored(part, Features(values, None if targets is None else Targets(targets, other)), warmed_on)

    def _score_untrained(
        self, part: Pool, targets: Pool | None, features: list[Feature], request: Score
    ) -> tuple[Mapping[Feature, np.ndarray], Mapping[Feature, np.ndarray]]:
        """By a model that does not follow from this run: what other runs computed of it is not computed again."""
        warmup = warm(self.experiment, self.pool, self.vlm, request.needs)
        with ExitStack() as stack:
            vlm = self.vlm if warmup is None else stack.enter_context(carry_adapter(self.vlm, warmup.folder))
            store = store_of(self.experiment, vlm, None if warmup is None else warmup.folder)
            made = [list(store.stages(pool, features).values()) for pool in (part, targets) if pool is not None]
            values = store.get(part, features)
            other = {} if targets is None else store.get(targets, features)
        self._scored += len(part) if self._unpaid(made[0]) else 0
        self._warmup += sum((one.cost for one in self._unpaid([warmup] if warmup else [])), Cost())
        unpaid = self._unpaid([stage for stages in made for stage in stages])
        self._scoring += sum((one.cost for one in passes(unpaid)), Cost())
        self._charged |= {stage.fingerprint for stage in [*unpaid, *([warmup] if warmup else [])]}
        return values, other

    def _unpaid(self, stages: list[Stage]) -> list[Stage]:
        """Those that this run was not charged for: two requests may read the same stage, which was made once."""
        return [stage for stage in stages if stage.fingerprint not in self._charged]

    def _score_now(
        self, number: int, part: Pool, targets: Pool | None, features: list[Feature]
    ) -> tuple[Mapping[Feature, np.ndarray], Mapping[Feature, np.ndarray]]:
        """By the weights that the run has."""
        last = self._last
        named = [f"{type(feature).__qualname__} {feature}" for feature in features]
        identity = {"number": number, "rows": part.fingerprint, "features": named, "after": last.name}

        def make(folder: Path) -> None:
            with carry_adapter(self.vlm, last) as carried:
                store = store_of(self.experiment, carried, last, folder / PASS)
                for name, pool in (("values", part), ("targets", targets)):
                    values = {} if pool is None else store.get(pool, features)
                    for place, feature in enumerate(values):
                        _save(folder / f"{name}-{place}.npy", values[feature])
            shutil.rmtree(folder / PASS)

        self._scored += len(part)
        store = store_of(self.experiment, self.vlm, last)
        devices = min(self.experiment.devices, math.ceil(len(part) / store.shard))
        stage = run_stage(self.folder / ROUNDS, "score", identity, make, devices=devices)
        self._scoring += stage.cost
        return _read(stage, "values", features), {} if targets is None else _read(stage, "targets", features)


def _save(file: Path, values: np.ndarray) -> None:
    with open_unlinked(file, "wb") as stream:
        np.save(stream, values)


def _read(stage: Stage, name: str, features: list[Feature]) -> dict[Feature, np.ndarray]:
    files = [stage.folder / f"{name}-{place}.npy" for place in range(len(features))]
    return {feature: np.load(file, mmap_mode="r") for feature, file in zip(features, files, strict=True)}


def _last_losses(folder: Path, count: int) -> np.ndarray:
    losses = np.full(count, np.nan)
    for line in row_losses_of(folder):
        losses[line["places"]] = [math.nan if loss is None else loss for loss in line["losses"]]
    return losses


def lighten(folder: Path) -> None:
    """Delete of a part what only the next part needs, and its rows' losses, which `ANSWER` was made of: until the part
    has its name, a kill may let it be made again."""
    shutil.rmtree(folder / HANDED_ON, ignore_errors=True)
    for file in [*(folder / name for name in LEARNED), *folder.glob("rows-*.jsonl")]:
        file.unlink(missing_ok=True)


def gather(trained: list[Trained], folder: Path) -> None:
    """Write into ``folder`` what a run that was trained in one go leaves: what it learned, its losses and its report.

    Written last is the report, so a folder that has it has everything.
    """
    for name in LEARNED:
        if (trained[-1].folder / name).exists():
            _copy(trained[-1].folder / name, folder / name)
    losses = [(part.folder / LOSSES).read_text() for part in trained]
    write_atomically(folder / LOSSES, "".join(losses))
    _save(folder / VISITS, np.concatenate([np.load(part.folder / VISITS) for part in trained]))
    for point in [point for part in trained for point in (part.folder / POINTS).glob("*")]:
        refuse_links([folder / POINTS, folder / POINTS / point.name])
        shutil.copytree(point, folder / POINTS / point.name, dirs_exist_ok=True, copy_function=_copy)


def _copy(file: str | Path, to: str | Path) -> None:
    with open(file, "rb") as source, open_unlinked(Path(to), "wb") as copy:
        shutil.copyfileobj(source, copy)


def report_of(trained: list[Trained]) -> dict[str, Any]:
    """The parts' ``train.json`` as one: counts are summed up."""
    reports = [json.loads((part.folder / "train.json").read_text()) for part in trained]
    counted = ("steps", "rows", "tokens", "answer_tokens", "rows_cut", "rows_without_answer")
    return {**reports[-1], **{name: sum(report[name] for report in reports) for name in counted}}
