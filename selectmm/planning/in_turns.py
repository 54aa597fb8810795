"""The plan of a run whose rows are chosen while it trains: one stage, shown as warm-up, scoring, steps."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from selectmm.features import store
from selectmm.methods.method import Needs
from selectmm.planning.stages import Planned
from selectmm.planning.work import Work
from selectmm.pool.pool import Pool
from selectmm.schedules.schedule import Score, Train
from selectmm.stages import schedule, select

if TYPE_CHECKING:
    from selectmm.planning.job import Job


def in_turns(job: "Job") -> list[Planned]:
    """The stages between the pool and the evaluation; the last of them is the training.

    How many rows are scored, and for how many steps is trained, follows from the schedule with invented scores
    (`selectmm.schedules.forecast.forecast`). Rows are taken to be the pool's average.

    Raises:
        UserError: the schedule cannot share out the steps, or there are no targets where some are needed.
    """
    experiment, pool = job.experiment, job.pool
    requests = schedule.requests_of(experiment, pool)
    scorings = _scorings(requests)
    scored = [request for request, _ in scorings]
    wanted = next((request.needs for request in scored if request.needs.targets), Needs())
    targets = select.targets_of(experiment.open_targets, experiment.suite, experiment.method_name, wanted)
    warmups = [job._warmup(needs) for needs in {request.needs for request in scored if request.needs.warmup}]
    steps = sum(request.steps for request in requests if isinstance(request, Train))
    visits = steps * experiment.recipe.batch_size
    training = scoring = Work()
    if job.model:
        scoring = Work(flops=0.0, tokens=0.0)
        every = job._load(pool, "conversation", np.arange(len(pool)))
        training = job.model.device.train(every.as_many_as(visits), experiment.recipe, experiment.strategy)
        for request, trained in scorings:
            rank = request.needs.warmup.rank if request.needs.warmup else experiment.recipe.rank * trained
            for rows in (pool, targets if request.needs.targets else None):
                if rows is not None:
                    count = len(request.rows) if rows is pool else len(rows)
                    scoring = _sum(scoring, _pass(job, rows, request.needs, count, rank))
    name = None if targets is None else targets.fingerprint
    model = job.model.vlm.identity if job.model else "?model"
    identity = schedule.identity_of(experiment, pool, model, experiment.device, requests, name)
    what = f"{len([one for one in requests if isinstance(one, Train)])} rounds, {steps:,} steps of "
    made = Planned("finetune", f"{what}{experiment.recipe.batch_size}", (), "to do", visits, training)
    made = replace(made, devices=experiment.strategy.devices)
    tuned = job._stage(schedule.STAGE, identity, made, None if job.model else "unknown")
    visited = sum(len(request.rows) for request in scored)
    read = dict.fromkeys(type(feature).__name__ for request in scored for feature in request.needs.features)
    described = f"{' + '.join(read)}, {len(scored)} times, for {experiment.chooser}"
    passes = replace(tuned, name="scoring", what=described, rows=visited, work=scoring)
    passes = replace(passes, devices=experiment.devices, folder=None)
    if tuned.folder is not None:
        _, costs = schedule.read_summary(tuned.folder)
        tuned, passes = replace(tuned, cost=costs["tuning"]), replace(passes, cost=costs["scoring"])
    return [*(one for one in warmups if one), *([passes] if scored else []), tuned]


def _scorings(requests: list[Score | Train]) -> list[tuple[Score, bool]]:
    """What is scored, and whether after a step; what the model before the first step has scored is not scored again."""
    found: list[tuple[Score, bool]] = []
    met: set[tuple[Needs, bytes]] = set()
    trained = False
    for request in requests:
        if isinstance(request, Train):
            trained = True
        elif request.needs.features:
            key = request.needs, np.asarray(request.rows).tobytes()
            fixed = not trained or request.needs.warmup is not None
            if not fixed or key not in met:
                found.append((request, trained))
            met |= {key} if fixed else set()
    return found


def _pass(job: "Job", rows: Pool, needs: Needs, count: int, rank: int) -> Work:
    """One scoring of ``count`` of the rows."""
    total = Work(flops=0.0, tokens=0.0)
    for view, riding in store.riders(rows, list(needs.features)).items():
        units = len(rows.images) if view == "image" else len(rows)
        load = job._load(rows, view, np.arange(units)).as_many_as(units * count / len(rows))
        total = _sum(total, job.model.device.features(load, riding, rank, job.experiment.batch_size))
    return total


def _sum(one: Work, other: Work) -> Work:
    tokens, flops = one.tokens + (other.tokens or 0), one.flops + (other.flops or 0)
    return replace(other, tokens=tokens, flops=flops, disk=None, joining=0.0)
