"""Schedules against their formulas, written out, and against expectations over all draws."""

from itertools import combinations
from math import comb, exp

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import Features
from selectmm.methods.check import invented_pool
from selectmm.methods.full import Full
from selectmm.methods.random import Random
from selectmm.schedules.delta_loss import DeltaLoss
from selectmm.schedules.infobatch import InfoBatch, pruned
from selectmm.schedules.loss import Loss, drawn
from selectmm.schedules.reselect import Reselect
from selectmm.schedules.rho_loss import RhoLoss
from selectmm.schedules.schedule import Course, Schedule, Score, Scored, Train
from selectmm.schedules.static import Static

POOL = invented_pool(60)


def played(schedule: Schedule, course: Course, losses: dict[int, np.ndarray], seed: int = 0) -> list[Score | Train]:
    """All requests. ``losses``: the model's [60] by the number of steps that it was trained, −1 for the reference's."""
    asking, requests, answer, done = schedule.rounds(course, np.random.default_rng(seed)), [], None, 0
    while True:
        try:
            request = asking.send(answer)
        except StopIteration:
            return requests
        requests.append(request)
        now = losses[max(at for at in losses if at <= done)]
        if isinstance(request, Train):
            done += request.steps
            answer = now[request.rows]
        else:
            warmed = np.arange(3) if request.needs.warmup else np.empty(0, np.int64)
            values = {AnswerLoss(): (losses[-1] if request.needs.warmup else now)[request.rows]}
            answer = Scored(POOL, Features(values), warmed)


def trained(requests: list[Score | Train]) -> list[Train]:
    return [request for request in requests if isinstance(request, Train)]


def test_rows_of_weight_zero_are_drawn_after_all_others_and_each_as_likely() -> None:
    """Of 60 rows 10 have weight 1 and 10 no loss: of 30 drawn, 20 are of the other 40, each in half of the draws."""
    weights, losses = np.zeros(60), np.ones(60)
    weights[40:50], losses[50:] = 1.0, np.nan
    found, times = Scored(POOL, Features({}), np.empty(0, np.int64)), np.zeros(60)
    for seed in range(400):
        times[drawn(found, weights, losses, 30, np.random.default_rng(seed))] += 1
    assert (times[40:50] == 400).all() and (times[50:] == 0).all()
    assert abs(times[:40] - 200).max() < 5 * 10, "five standard deviations"


def test_infobatch_expects_the_gradient_of_all_rows() -> None:
    """Over every set that the random share can be, each as likely: the mean of Σ weight · gradient is Σ gradient."""
    scores = np.array([0.1, 0.2, 5.0, 0.3, 7.0, 0.4, 0.5])
    gradients = np.random.default_rng(0).normal(size=(7, 3))
    low = [0, 1, 3, 5, 6]
    for prune in (0.5, 0.3, 0.9):
        staying = max(1, round((1 - prune) * len(low)))
        total = np.zeros(3)
        for kept in combinations(low, staying):
            keys = np.array([0.0 if row in kept else 1.0 for row in range(7)])
            places, weights = pruned(scores, keys, prune)
            assert places.tolist() == sorted([2, 4, *kept])
            total += weights @ gradients[places]
        np.testing.assert_allclose(total / comb(len(low), staying), gradients.sum(0), rtol=1e-12)


@given(st.lists(st.floats(0.0, 20.0), min_size=1, max_size=40), st.floats(0.0, 0.99), st.integers(0, 2**32))
def test_infobatch_s_weights_sum_to_the_rows_and_spare_those_above_the_mean(
    scores: list[float], prune: float, seed: int
) -> None:
    places, weights = pruned(np.array(scores), np.random.default_rng(seed).random(len(scores)), prune)
    np.testing.assert_allclose(weights.sum(), len(scores))
    hard = [place for place, score in enumerate(scores) if score >= np.mean(scores)]
    assert set(hard) <= set(places.tolist()) and (np.diff(places) > 0).all()
    assert all(weights[places.tolist().index(place)] == 1 for place in hard)


def test_infobatch_draws_every_easy_row_equally_often() -> None:
    scores, seen = np.r_[np.zeros(10), np.full(10, 9.0)], np.zeros(20)
    for seed in range(400):
        places, _ = pruned(scores, np.random.default_rng(seed).random(20), 0.5)
        seen[places] += 1
    assert (seen[10:] == 400).all()
    # Each easy row stays in 200 of 400 draws on average, with a standard deviation of 10: 5 of them is generous.
    assert np.abs(seen[:10] - 200).max() < 50


def test_infobatch_prunes_by_the_last_loss_and_ends_with_all_rows() -> None:
    losses = np.where(np.arange(60) < 40, 0.1, 2.0)
    course = Course(POOL, Full(), 60, 120, 4)
    first, second, *_, last = trained(played(InfoBatch(), course, {0: losses}))
    assert (first.steps, set(first.weights)) == (15, {1.0}), "the first pass has no losses yet"
    assert (second.steps, len(second.rows)) == (10, 40), "20 easy rows of 40 and 20 hard ones"
    assert {(row < 40, weight) for row, weight in zip(second.rows.tolist(), second.weights, strict=True)} == {
        (True, 2.0),
        (False, 1.0),
    }
    assert (last.steps, last.rows.tolist(), last.weights) == (15, list(range(60)), None), "the last eighth of 120 steps"


def test_rho_chooses_by_direct_losses() -> None:
    rng = np.random.default_rng(5)
    losses = {-1: rng.gamma(2.0, size=60), **{step: rng.gamma(2.0, size=60) for step in range(6)}}
    course = Course(POOL, Random(), 20, 6, 4)
    requests = played(RhoLoss(keep=0.5), course, losses)
    assert requests[0].needs.warmup is not None and len(requests[0].rows) == 60
    seen: list[int] = []
    for step in range(6):
        asked, train = requests[1 + 2 * step : 3 + 2 * step]
        assert len(asked.rows) == 8 and train.steps == 1 and train.ordered
        best = sorted(asked.rows.tolist(), key=lambda row: losses[step][row] - losses[-1][row])[-4:]
        assert set(train.rows.tolist()) == set(best)
        seen += asked.rows.tolist()
    assert len(set(seen)) == 48 and not {0, 1, 2} & set(seen), "new candidates at every step, none of the held-out rows"


def test_rho_with_several_steps_at_once_keeps_the_best_of_each_step_s_candidates() -> None:
    rng = np.random.default_rng(5)
    losses = {-1: rng.gamma(2.0, size=60), 0: rng.gamma(2.0, size=60)}
    course = Course(POOL, Random(), 20, 6, 4)
    singly = trained(played(RhoLoss(every=1), course, losses))
    (together,) = trained(played(RhoLoss(every=6), course, losses))
    assert together.rows.tolist() == [row for train in singly for row in train.rows.tolist()], (
        "the weights are the same"
    )


def test_reselect_once_without_warm_up_asks_for_what_static_does() -> None:
    course = Course(POOL, Random(), 20, 30, 4)
    once = played(Reselect(warmup=0.0, updates=1), course, {0: np.zeros(60)})
    static = played(Static(), course, {0: np.zeros(60)})
    for ours, theirs in zip(once, static, strict=True):
        assert type(ours) is type(theirs) and ours.rows.tolist() == theirs.rows.tolist()
    assert (once[1].steps, once[1].weights, once[1].ordered) == (30, None, False)


def test_reselect_with_random_is_a_fresh_uniform_draw_every_time() -> None:
    course, seen = Course(POOL, Random(), 30, 30, 4), np.zeros((3, 60))
    both = 0
    for seed in range(300):
        rounds = trained(played(Reselect(), course, {0: np.zeros(60)}, seed))
        assert [len(np.unique(train.rows)) for train in rounds] == [10, 10, 10]
        for number, train in enumerate(rounds):
            seen[number, train.rows] += 1
        both += len(np.intersect1d(rounds[1].rows, rounds[2].rows))
    # Each row is drawn in 50 of 300 rounds on average, with a standard deviation of 6.5: 5 of them is generous.
    assert np.abs(seen - 50).max() < 33
    assert abs(both / 300 - 10 * 10 / 60) < 0.35, "two independent draws of 10 of 60 share 1.67 rows on average"


def test_the_loss_schedule_favours_its_third_fivefold() -> None:
    losses, drawn = np.arange(60.0), np.zeros(60)
    course = Course(POOL, Random(), 2, 60, 4)
    for seed in range(600):
        for train in trained(played(Loss(warmup=0.0, updates=2), course, {0: losses}, seed)):
            assert len(train.rows) == 1
            drawn[train.rows] += 1
    favoured = losses > np.quantile(losses, 0.66)
    share = drawn[favoured].sum() / drawn.sum()
    expected = 5 * favoured.sum() / (5 * favoured.sum() + (~favoured).sum())
    assert abs(share - expected) < 0.06, "1,200 draws of one row: a standard deviation of 0.013"


def test_the_delta_schedule_s_window_slides_from_what_fell_most_to_what_fell_least() -> None:
    fallen, keys = np.arange(100.0)[::-1], np.zeros(100)
    schedule = DeltaLoss(updates=4)
    for update in range(1, 5):
        weights = schedule.weights(fallen, update, keys)
        start = int(0.8 * 100 / (1 + exp(-10 * (update / 4 - 0.5))))
        assert np.flatnonzero(weights == 1.0).tolist() == list(range(start, start + 20))
        assert (weights[weights != 1.0] == 0.025).all()
    assert start == 79, "at the last update, nearly the end of the ranking"
