"""What a schedule will ask for, as far as that can be known before anything is computed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.method import Method, Needs
from selectmm.methods.random import Random
from selectmm.methods.random_warmup import RandomWarmUp
from selectmm.methods.subset import Subset
from selectmm.methods.warmup import WarmUp
from selectmm.pool.pool import Pool
from selectmm.pool.table import taken
from selectmm.schedules.request import check_request
from selectmm.schedules.schedule import Course, Schedule, Score, Scored, Train


@dataclass(frozen=True)
class _StandIn:
    """Needs what a method needs, and chooses at random."""

    method: Method

    def needs(self) -> Needs:
        return self.method.needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        return Random().select(pool, features, budget, rng)


def forecast(
    schedule: Schedule, course: Course, warmed_on: Callable[[WarmUp | RandomWarmUp], np.ndarray], seed: int
) -> list[Score | Train]:
    """The requests in order, when all scores and losses are random numbers: how much is scored and trained, not what.

    Args:
        warmed_on: says of a warm-up which positions it would train on.

    Raises:
        UserError: see `Schedule.check` and `check_request`; also if the requests do not train all steps.
    """
    schedule.check(course)
    course, rng = replace(course, method=_StandIn(course.method)), np.random.default_rng(seed)
    asking, answer, requests = schedule.rounds(course, np.random.default_rng(seed)), None, []
    while True:
        try:
            requests.append(asking.send(answer))
        except StopIteration:
            break
        check_request(schedule, requests[-1], course)
        answer = _invented(requests[-1], course.pool, warmed_on, rng)
    trained = sum(request.steps for request in requests if isinstance(request, Train))
    if trained != course.steps:
        raise UserError(
            f"{type(schedule).__name__} trains {trained:,} steps, but a static run of this budget and recipe trains "
            f"{course.steps:,}; a schedule has to take as many."
        )
    return requests


def _invented(
    request: Score | Train,
    pool: Pool,
    warmed_on: Callable[[WarmUp | RandomWarmUp], np.ndarray],
    rng: np.random.Generator,
) -> Scored | np.ndarray:
    if isinstance(request, Train):
        return rng.random(len(request.rows))
    count = len(request.rows)
    values = {f: rng.random((count, 2)) if f.vector else rng.random(count) for f in request.needs.features}
    warmup = warmed_on(request.needs.warmup) if request.needs.warmup else np.empty(0, np.int64)
    return Scored(part_of(pool, request.rows), Features(values), warmup)


def part_of(pool: Pool, rows: np.ndarray) -> Pool:
    """Some rows as a pool of their own; ``rows`` are ascending and distinct."""
    if len(rows) == len(pool):
        return pool
    named = fingerprint({"pool": pool.fingerprint, "rows": hashlib.sha256(rows.tobytes()).hexdigest()})
    return Pool(taken(pool.table, rows), pool.image_root, named, frames=pool.frames)
