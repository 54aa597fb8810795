"""LESS by hand, and against plain loops over pairs of gradients at every checkpoint."""

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.feature import Features, Targets
from selectmm.methods.check import pool_of
from selectmm.methods.less import Less
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from tests.methods.pools import shuffled, talking_pool

NAMES = ["B", "A/x", "A/y", "B", "A/x", "C"]


def gradients(rows: int, seed: int, dim: int = 5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.c_[np.full(rows, 9.0), rng.normal(size=(rows, dim)) * rng.gamma(1, size=(rows, 1))]


def kept(method: Less, pool: Pool, points: list[tuple[np.ndarray, np.ndarray, float]], budget: int) -> Subset:
    """``points``: rows' steps, examples' gradients and the rate at each checkpoint."""
    needs = method.needs()
    (step,), (plain,) = needs.features, needs.target_features
    examples = pool_of([(name, f"asked {number}", None) for number, name in enumerate(NAMES)])
    opened = tuple(Features({step: s}, Targets(examples, {plain: e}), rate=rate) for s, e, rate in points)
    given = Features(opened[-1].values, opened[-1].targets, snapshots=opened)
    return method.select(pool, given, budget, np.random.default_rng(0))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def made_points(rows: int) -> list[tuple[np.ndarray, np.ndarray, float]]:
    return [(gradients(rows, c), gradients(6, 10 + c), rate) for c, rate in enumerate([3e-5, 2e-5, 5e-6])]


@pytest.mark.parametrize("targets", ["max", "mean", "round_robin"])
@pytest.mark.parametrize("parts", ["max", "mean"])
def test_the_whole_is_the_published_rule(targets: str, parts: str) -> None:
    pool, points = talking_pool(30), made_points(30)
    total = sum(rate for *_, rate in points)
    of = {name: np.zeros(30) for name in NAMES}
    for name in of:
        members = [v for v, other in enumerate(NAMES) if other == name]
        for row in range(30):
            for steps, examples, rate in points:
                pairs = [cosine(steps[row, 1:], examples[v, 1:]) for v in members]
                of[name][row] += rate / total * np.mean(pairs)
    reduce = np.maximum if parts == "max" else lambda a, b: (a + b) / 2
    table = np.stack([reduce(of["A/x"], of["A/y"]), of["B"], of["C"]], 1)
    score = table.mean(1) if targets == "mean" else table.max(1)
    subset = kept(Less(targets=targets, parts=parts, checkpoints=3), pool, points, 8)
    assert subset.scores == pytest.approx(score, abs=1e-11)
    if targets != "round_robin":
        assert subset.rows.tolist() == sorted(np.argsort(-score)[:8].tolist())
        return
    taken: list[int] = []
    for turn in range(8):
        wishes = np.argsort(-table[:, turn % 3])
        taken.append(next(row for row in wishes.tolist() if row not in taken))
    assert subset.rows.tolist() == sorted(taken)


def test_by_hand_two_checkpoints_weigh_by_their_rates() -> None:
    """Examples along x and then along y; rates 3 and 1: a row along x, then x again, scores 0.75 · 1 + 0.25 · 0."""
    pool = pool_of([("s", f"question {row}", None) for row in range(2)])
    rows = np.array([[1.0, 5, 0], [1, 0, 2]])
    east, north = np.tile([1.0, 1, 0], (6, 1)), np.tile([1.0, 0, 7], (6, 1))
    subset = kept(Less(checkpoints=2), pool, [(rows, east, 3e-5), (rows, north, 1e-5)], 1)
    assert subset.scores.tolist() == pytest.approx([0.75, 0.25]) and subset.rows.tolist() == [0]
    still = kept(Less(checkpoints=2), pool, [(rows, east, 0.0), (rows, north, 0.0)], 1)
    assert still.scores.tolist() == pytest.approx([0.5, 0.5]), "rates of zero weigh alike"


def test_one_checkpoint_is_a_single_cosine_and_none_is_refused() -> None:
    pool, points = talking_pool(10), made_points(10)[:1]
    subset = kept(Less(checkpoints=1), pool, points, 3)
    best = [max(np.mean([cosine(points[0][0][row, 1:], points[0][1][v, 1:]) for v in part]) for part in ([1, 4], [2], [0, 3], [5])) for row in range(10)]  # fmt: skip  # noqa: E501
    assert subset.scores == pytest.approx(best, abs=1e-11)
    with pytest.raises(UserError, match=r"^method\.checkpoints=0: influence is measured at one checkpoint at least\.$"):
        Less(checkpoints=0).needs()


def test_a_row_without_an_answer_comes_last_and_is_counted() -> None:
    pool, points = talking_pool(12), made_points(12)
    for steps, *_ in points:
        steps[4] = 0
    for targets in ("max", "mean", "round_robin"):
        subset = kept(Less(checkpoints=3, targets=targets), pool, points, 11)
        assert 4 not in subset.rows and np.isnan(subset.scores[4])
        assert subset.excluded == {"no answer token within recipe.max_length": 1}


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    pool, points = talking_pool(30), [(np.repeat(s[:6], 5, axis=0), e, r) for s, e, r in made_points(30)]
    moved, order = shuffled(pool)
    for targets in ("max", "round_robin"):
        before = kept(Less(checkpoints=3, targets=targets), pool, points, 12)
        after = kept(Less(checkpoints=3, targets=targets), moved, [(s[order], e, r) for s, e, r in points], 12)
        assert sorted(order[after.rows].tolist()) == before.rows.tolist()


def test_it_asks_for_adams_steps_on_rows_and_plain_gradients_of_examples() -> None:
    needs = Less(projection_dim=64).needs()
    assert [type(f).__name__ for f in (*needs.features, *needs.of_targets)] == ["AdamGradient", "ProjectedGradient"]
    assert needs.targets and needs.snapshots == 4
    warmup = needs.warmup
    made = (warmup.fraction, warmup.rank, warmup.alpha, warmup.dropout, warmup.lora_layers, warmup.lr, warmup.epochs)
    assert made == (0.05, 128, 512, 0.1, "attention", 2e-5, 4), "the authors' warm-up"
