"""The second and third stage of a run: choose and train, one after the other (static) or in turns (a schedule)."""

import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.budget import rows_for
from selectmm.cache.cost import Cost
from selectmm.cache.reading import Mismatch, read
from selectmm.cache.source_code import source_of
from selectmm.cache.stage import Stage, damaged, fingerprint, options_of, run_stage, write_atomically
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.experiment import Experiment
from selectmm.features.store import own_encoder
from selectmm.methods.method import Method, Needs
from selectmm.methods.subset import Subset
from selectmm.models.vlm import VLM
from selectmm.pool.places import places_digest
from selectmm.pool.pool import Pool
from selectmm.records.schedule import RoundEntry, ScheduleEntry
from selectmm.schedules.forecast import forecast
from selectmm.schedules.schedule import Course, Schedule, Score, Train
from selectmm.schedules.static import Static
from selectmm.stages.choice import Checked
from selectmm.stages.finetune import points_of, tune
from selectmm.stages.rounds import ROUNDS, VISITS, Rounds, Trained, gather, report_of
from selectmm.stages.select import Selection, check_selectable, select_rows, warmup_of
from selectmm.stages.summary import time_of
from selectmm.tuning.callback import REPORT
from selectmm.tuning.recipe import Recipe

log = logging.getLogger("selectmm")

STAGE = "schedule"
SUMMARY = "schedule.json"  # in its folder: the entry for the record, and costs
PARTS = ("warmup", "scoring", "tuning", "choosing")  # whose costs are reported one by one


@dataclass(frozen=True)
class Learned:
    """What was chosen and trained, and the stages that it took.

    Attributes:
        selection: of a schedule, the different rows that were visited; its stages are views of one stage, each with its
            share of the cost.
        tuned: holds the adapter.
        schedule: what was visited when; None of a static run.
    """

    selection: Selection
    tuned: Stage
    schedule: ScheduleEntry | None


def learn(experiment: Experiment, pool: Pool, vlm: VLM) -> Learned:
    """Choose rows and train on them."""
    if isinstance(experiment.schedule, Static):
        selection = select_rows(experiment, pool, vlm)
        return Learned(selection, tune(experiment, pool, vlm, selection.subset), None)
    return _in_turns(experiment, pool, vlm)


def check_choice(experiment: Experiment, pool: Pool, vlm: VLM) -> Pool | None:
    """What can be known of choosing before anything is computed; returns the target examples, if they are needed.

    Raises:
        UserError: pool, model, targets or steps lack what method or schedule need.
    """
    if isinstance(experiment.schedule, Static):
        return check_selectable(experiment, pool, vlm)
    own = experiment.method.needs() if experiment.schedule.wraps else Needs()
    if own.snapshots or own.reference:
        raise UserError(
            f"method={experiment.method_name} needs several checkpoints of its warm-up, or features of the warm-up's "
            f"rows alone, which no schedule has; choose another method, or schedule=static."
        )
    requests = requests_of(experiment, pool)
    needs = [request.needs for request in requests if isinstance(request, Score)]
    weighted = any(isinstance(request, Train) and request.weights is not None for request in requests)
    if weighted and experiment.recipe.packing:
        raise UserError(
            f"schedule={experiment.chooser} gives each row a weight, but "
            f"recipe.packing joins several rows into one sequence; set recipe.packing=false."
        )
    features = tuple(dict.fromkeys(feature for one in needs for feature in one.features))
    everything = replace(own, features=features, targets=any(one.targets for one in needs), warmup=None)
    return check_selectable(experiment, pool, vlm, everything)


def course_of(pool: Pool, method: Method, budget: float, recipe: Recipe) -> Course:
    """What the schedule shares out: as many steps as a static run has."""
    rows = rows_for(budget, pool)
    return Course(pool, Checked(method), rows, recipe.steps(len(pool), rows), recipe.batch_size)


def requests_of(experiment: Experiment, pool: Pool) -> list[Score | Train]:
    """What the schedule will ask for, as far as that can be known now; errors as `forecast`."""
    recipe, seed = experiment.recipe, experiment.seed
    course = course_of(pool, experiment.method, experiment.budget, recipe)
    return forecast(experiment.schedule, course, lambda warmup: warmup_of(warmup, pool, recipe, seed)[0], seed)


def identity_of(
    experiment: Experiment, pool: Pool, model: str, device: str, requests: list[Score | Train], targets: str | None
) -> dict[str, Any]:
    """The identity of a schedule's stage. ``targets``: fingerprint of the examples."""
    schedule, recipe = experiment.schedule, experiment.recipe
    steps = course_of(pool, experiment.method, experiment.budget, recipe).steps
    features = {feature for one in requests if isinstance(one, Score) for feature in one.needs.features}
    encoders = sorted(f"{feature} {own['encoder']}" for feature in features if (own := own_encoder(feature)))
    return {
        "schedule": source_of(schedule),
        "options": options_of(schedule),
        **(_of_method(experiment.method, pool) if schedule.wraps else {}),
        "features": sorted(f"{source_of(feature)} {feature}" for feature in features),
        "targets": targets,
        "pool": pool.fingerprint,
        "rows": rows_for(experiment.budget, pool),
        "model": model,
        "recipe": recipe.learned(),
        "steps": steps,
        "strategy": experiment.strategy.learned(),
        "device": device,
        "seed": experiment.seed,
        "points": list(points_of(experiment.curve, steps)),
        "version": 1,
        **({"encoders": encoders} if encoders else {}),
    }


def _of_method(method: Method, pool: Pool) -> dict[str, Any]:
    """What a choice of the run's method follows from, besides features; as in `selectmm.stages.select.identity_of`."""
    named = {"places": places_digest(pool)} if method.needs().places else {}
    return {"method": source_of(method), "method_options": options_of(method), **named}


def _in_turns(experiment: Experiment, pool: Pool, vlm: VLM) -> Learned:
    course = course_of(pool, experiment.method, experiment.budget, experiment.recipe)
    targets = check_choice(experiment, pool, vlm)
    requests = requests_of(experiment, pool)
    wanted = None if targets is None else targets.fingerprint
    identity = identity_of(experiment, pool, vlm.identity, vlm.model.device.type, requests, wanted)
    with experiment.tracker.stage("schedule", experiment.config) as tracked:

        def make(folder: Path) -> None:
            if not (folder / REPORT).exists():
                points = points_of(experiment.curve, course.steps)
                rounds = Rounds(experiment, pool, vlm, targets, course, folder, points, tracked.log)
                rounds.follow()
                gather(rounds.trained, folder)
                summary = _summary(experiment.chooser, experiment.schedule, pool, rounds)
                write_atomically(folder / SUMMARY, json.dumps(summary, indent=1))
                report = report_of(rounds.trained)
                if report["answer_tokens"] == 0:
                    raise UserError(
                        f"None of {report['rows']} rows has an answer token within its first "
                        f"{experiment.recipe.max_length} tokens, so there is nothing to learn; raise recipe.max_length."
                    )
                write_atomically(folder / REPORT, json.dumps(report, indent=1))
            shutil.rmtree(folder / ROUNDS, ignore_errors=True)

        made = run_stage(experiment.cache, STAGE, identity, make)
        learned = _learned(made, pool)
        if made.cached:
            for line in (made.folder / "losses.jsonl").read_text().splitlines():
                tracked.log(json.loads(line))
        counts = {"visits": learned.schedule.visits, "distinct": learned.schedule.distinct}
        tracked.summary({"steps": course.steps, "cached": made.cached, **counts})
    _log_summary(learned, course, made)
    return learned


def _summary(chooser: str, schedule: Schedule, pool: Pool, rounds: Rounds) -> dict[str, Any]:
    """What the stage says of itself: the entry for the record, and costs. ``chooser``: see `Experiment`."""
    trained = rounds.trained
    visits = [np.load(part.folder / VISITS) for part in trained]
    options = {name: value for name, value in options_of(schedule).items() if name != "wraps"}
    entry = ScheduleEntry(
        name=chooser.partition("+")[0],
        options=options,
        fingerprint=fingerprint({"visits": [rows for part in visits for rows in part.ravel().tolist()]}),
        visits=sum(part.size for part in visits),
        distinct=len(np.unique(np.concatenate(visits))),
        rounds=tuple(_rounds(pool, trained, visits)),
    )
    costs = {name: asdict(sum((getattr(p, name) for p in trained), Cost())) for name in ("warmup", "scoring", "tuning")}
    choosing = Cost(rounds.choosing, rounds.choosing, max(part.scoring.peak_gib for part in trained))
    return {"entry": asdict(entry), "costs": {**costs, "choosing": asdict(choosing)}}


def _rounds(pool: Pool, trained: list[Trained], visits: list[np.ndarray]) -> Iterator[RoundEntry]:
    seen, previous = np.zeros(len(pool), bool), np.empty(0, np.int64)
    for part, visited in zip(trained, visits, strict=True):
        rows = np.unique(visited)
        yield RoundEntry(
            first=part.first,
            steps=part.steps,
            scored=part.scored,
            visits=visited.size,
            distinct=len(rows),
            fresh=int((~seen[rows]).sum()),
            overlap=len(np.intersect1d(rows, previous, assume_unique=True)),
            per_source=dict(Counter(pool.sources[visited.ravel()].tolist()).most_common()),
            selection=(part.warmup + part.scoring).device_seconds,
            tuning=part.tuning.device_seconds,
        )
        seen[rows], previous = True, rows


def read_summary(folder: Path) -> tuple[ScheduleEntry, dict[str, Cost]]:
    """What a finished stage says of itself: the entry for the record, and the costs of its `PARTS`.

    Raises:
        UserError: it cannot be read.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text())
        return read(ScheduleEntry, summary["entry"]), {name: Cost(**summary["costs"][name]) for name in PARTS}
    except (OSError, ValueError, LookupError, TypeError, Mismatch) as problem:
        raise damaged(folder, SUMMARY, problem) from problem


def _learned(made: Stage, pool: Pool) -> Learned:
    entry, costs = read_summary(made.folder)
    warmup, scoring, tuning, choosing = (replace(made, cost=costs[name]) for name in PARTS)
    subset = Subset(np.unique(np.load(made.folder / VISITS)))
    selection = Selection(subset, warmup if warmup.cost.seconds else None, [scoring], choosing)
    return Learned(selection, tuning, entry)


def _log_summary(learned: Learned, course: Course, made: Stage) -> None:
    entry, selection = learned.schedule, learned.selection
    log.info(
        "  schedule  %s visits of %s different rows in %s %s",
        f"{entry.visits:,}", f"{entry.distinct:,}", counted(len(entry.rounds), "round"), time_of(*selection.stages),
    )  # fmt: skip
    steps, rows = counted(course.steps, "step"), counted(course.batch_size, "row")
    log.info("  finetune  %s of %s %s", steps, rows, time_of(learned.tuned))
