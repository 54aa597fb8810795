"""RDS+: the rows most like examples of the target benchmarks."""

from dataclasses import dataclass

import numpy as np

from selectmm.features.feature import Features
from selectmm.features.states import WeightedStates
from selectmm.methods.content import by_content
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

FEATURE = WeightedStates()


@dataclass(frozen=True)
class RdsPlus:
    """Score: the highest cosine with any target example; examples take turns in choosing their nearest free row.

    Rows are the model's last states, averaged with weights that grow with the position. Ivison et al., Large-Scale Data
    Selection for Instruction Tuning (arXiv 2503.01807).

    Examples take turns in the order of their file. If the budget is no multiple of their number, those that come first
    choose one row more, and with a budget below it the last ones choose none.

    Several images in a row: the states are those of the whole row.
    """

    def needs(self) -> Needs:
        """Weighted last states of rows and of target examples."""
        return Needs((FEATURE,), targets=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows nearest to the examples, which take turns."""
        examples = _units(features.targets[FEATURE])
        order = by_content(pool)
        similar = examples @ _units(features[FEATURE]).T
        return Subset(order[round_robin(similar[:, order], budget)], similar.max(0).astype(np.float64))


def round_robin(similar: np.ndarray, count: int) -> np.ndarray:
    """Rows chosen by the examples in turn, each its most similar row that is still free; [count] of int64.

    Args:
        similar: [examples, rows]; ties go to the earlier row. count ≤ rows.
    """
    wishes = np.argsort(-similar, axis=1, kind="stable")
    at = np.zeros(len(similar), np.int64)
    free = np.ones(similar.shape[1], bool)
    chosen = np.empty(count, np.int64)
    for turn in range(count):
        example = turn % len(similar)
        while not free[wishes[example, at[example]]]:
            at[example] += 1
        chosen[turn] = wishes[example, at[example]]
        free[chosen[turn]] = False
    return chosen


def _units(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
