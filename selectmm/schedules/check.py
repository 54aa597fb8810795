"""The contract of a schedule, as a test that a stranger can run on theirs."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from selectmm.features.feature import Features, Targets
from selectmm.methods.check import invented_examples, invented_pool, invented_values
from selectmm.methods.el2n import El2n
from selectmm.methods.method import Method
from selectmm.pool.pool import Pool
from selectmm.schedules.forecast import part_of
from selectmm.schedules.schedule import Course, Schedule, Score, Scored, Train
from selectmm.tuning.module import rate
from selectmm.tuning.plan import plan, share_of

BATCH = 4  # rows per optimiser step
WARMUP = 0.1  # of the recipe whose rates are held against


def check_schedule(schedule: Schedule, method: Method | None = None) -> None:
    """Hold a schedule against what every schedule promises; needs no model, no images and no network.

    Pool, feature values and losses are invented: they follow from a row's content and from how many steps were trained
    by then. Checked, for several budgets and numbers of steps: as many optimiser steps as a static run, so the learning
    rates of the parts together are the recipe's curve; rows of the pool; the weights of a training are above zero and
    sum to the rows that it stands for; same seed same visits, on one rank or two; the same visits whatever the pool's
    order.

    Args:
        method: what a schedule that wraps a method chooses by, El2n if none is given.

    Raises:
        AssertionError: a promise is broken; the sentence says which.
        UserError: the schedule refuses 60 rows and 30 steps or more.
    """
    method, mixed = method or El2n(), invented_pool(60)
    for rows, steps in ((20, 30), (20, 31), (60, 120)):
        course = Course(mixed, method, rows, steps, BATCH)
        schedule.check(course)
        trained = _trained(schedule, course, seed=0)
        _check_steps(schedule, trained, steps)
        for request in trained:
            _check_request(schedule, request, course)
    course = Course(mixed, method, 20, 30, BATCH)
    once, again = (_visits(_trained(schedule, course, seed=3), mixed) for _ in range(2))
    assert once == again, f"{schedule} visits other rows when it is asked again with the same seed"
    _check_order(schedule, course)


def _check_steps(schedule: Schedule, trained: Sequence[Train], steps: int) -> None:
    taken = sum(request.steps for request in trained)
    assert taken == steps, f"{schedule} trains {taken} steps where a static run trains {steps}"
    at = np.cumsum([0, *(request.steps for request in trained)])
    rates = [
        rate(int(first) + step, steps, WARMUP) for first, r in zip(at, trained, strict=False) for step in range(r.steps)
    ]
    assert rates == [rate(step, steps, WARMUP) for step in range(steps)], f"{schedule} leaves the recipe's rates"


def _check_request(schedule: Schedule, request: Train, course: Course) -> None:
    rows, weights = np.asarray(request.rows), request.weights
    assert request.steps >= 1 and len(rows), (
        f"{schedule} asks for a training of {request.steps} steps on {len(rows)} rows"
    )
    assert rows.dtype.kind == "i" and rows.min() >= 0 and rows.max() < len(course.pool), (
        f"{schedule} trains on a row that the pool does not have"
    )
    assert not request.ordered or len(rows) == request.steps * course.batch_size, (
        f"{schedule} gives {len(rows)} rows in order for {request.steps} steps of {course.batch_size}"
    )
    stands_for = len(rows) if request.stands_for is None else request.stands_for
    total = len(rows) if weights is None else float(np.sum(weights))
    assert weights is None or (np.shape(weights) == rows.shape and np.min(weights) > 0), (
        f"{schedule} gives weights that are not one number above zero for each row"
    )
    assert abs(total - stands_for) < 1e-6 * stands_for, (
        f"{schedule} gives weights that sum to {total:g} for rows that stand for {stands_for}"
    )
    _check_ranks(schedule, request, course)


def _check_ranks(schedule: Schedule, request: Train, course: Course) -> None:
    """Two ranks visit in every step what one does."""
    count = len(request.rows)
    batches = np.arange(count).reshape(-1, BATCH) if request.ordered else None
    if batches is None:
        images, lengths = course.pool.image_of[request.rows] >= 0, np.ones(count)
        batches = plan(images, lengths, course.batch_size, request.steps, seed=0)
    alone = share_of(batches, BATCH // 2, 0, 1).reshape(request.steps, -1)
    both = [share_of(batches, BATCH // 2, rank, 2).reshape(request.steps, -1) for rank in (0, 1)]
    same = np.array_equal(np.sort(alone, axis=1), np.sort(np.concatenate(both, axis=1), axis=1))
    assert same, f"{schedule} visits other rows on two ranks"


def _check_order(schedule: Schedule, course: Course) -> None:
    order = np.random.default_rng(1).permutation(len(course.pool))
    moved = Pool(course.pool.table.take(pa.array(order)), course.pool.image_root, course.pool.fingerprint)
    there = Course(moved, course.method, course.rows, course.steps, course.batch_size)
    before = _visits(_trained(schedule, course, seed=0), course.pool)
    after = _visits(_trained(schedule, there, seed=0), moved)
    assert before == after, f"{schedule} visits other rows when the pool is stored in another order"


def _visits(trained: Sequence[Train], pool: Pool) -> list[tuple[int, list[tuple[str, float]]]]:
    """Of every training its steps and its rows by content, with their weights; sorted unless their order counts."""
    told = []
    for request in trained:
        weights = np.ones(len(request.rows)) if request.weights is None else request.weights
        rows = [(pool[int(row)].digest, float(weight)) for row, weight in zip(request.rows, weights, strict=True)]
        told.append((request.steps, rows if request.ordered else sorted(rows)))
    return told


def _trained(schedule: Schedule, course: Course, seed: int) -> list[Train]:
    """All trainings of a run whose features and losses are invented."""
    asking, trained, answer = schedule.rounds(course, np.random.default_rng(seed)), [], None
    while True:
        try:
            request = asking.send(answer)
        except StopIteration:
            return trained
        done = sum(one.steps for one in trained)
        if isinstance(request, Train):
            trained.append(request)
            answer = (
                _losses(course.pool, request.rows, done)
                if request.weights is not None
                else np.full(len(request.rows), np.nan)
            )
        else:
            answer = _scored(schedule, request, course.pool, done)


def _scored(schedule: Schedule, request: Score, pool: Pool, done: int) -> Scored:
    rows, needs = np.asarray(request.rows), request.needs
    assert np.array_equal(rows, np.unique(rows)), f"{schedule} scores rows that are not ascending and distinct"
    part, targets, faster = part_of(pool, rows), None, 1 + done % 7
    if needs.targets:
        examples = invented_examples()
        targets = Targets(examples, {f: invented_values(examples, f) for f in needs.features})
    features = {feature: invented_values(part, feature) ** (1 / faster) for feature in needs.features}
    warmed = np.empty(0, np.int64) if needs.warmup is None else needs.warmup.rows(pool, np.random.default_rng(9))
    return Scored(part, Features(features, targets), warmed)


def _losses(pool: Pool, rows: np.ndarray, done: int) -> np.ndarray:
    digests = [pool[int(row)].digest for row in rows]
    return np.array([np.random.default_rng([done, *digest.encode()]).gamma(2.0) for digest in digests])
