"""What a schedule is: it says, one request after the other, what is scored and what is trained on next."""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.method import Method, Needs
from selectmm.methods.order import random_keys, ranked
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Course:
    """What a schedule shares out: the same optimiser steps as a static run of the same budget.

    Attributes:
        rows: the budget in rows, as many as a static run keeps.
        steps: optimiser steps of the run. batch_size: rows per step, so that steps · batch_size rows are visited.
    """

    pool: Pool
    method: Method
    rows: int
    steps: int
    batch_size: int

    def share(self, steps: int) -> int:
        """As many rows for ``steps`` of the steps as the budget has for all of them, at least one."""
        return max(1, round(self.rows * steps / self.steps))

    def everything(self) -> np.ndarray:
        """All positions of the pool, [n] of int64."""
        return np.arange(len(self.pool))

    def random(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Positions of a uniform draw without replacement, [count] of int64, ascending."""
        return np.sort(ranked(random_keys(self.pool, rng), min(count, len(self.pool)), "low"))


@dataclass(frozen=True, eq=False)
class Score:
    """Request: the features of some rows, with the weights that the run has now.

    Attributes:
        rows: positions in the pool, [m] of int64, ascending and distinct.
        needs: features, and whether the target examples' are wanted too. If it has a warm-up, the features are those of
            a model that had this warm-up, not those of the run.
    """

    rows: np.ndarray
    needs: Needs


@dataclass(frozen=True, eq=False)
class Scored:
    """Answer to `Score`.

    Attributes:
        pool: the rows that were scored, as a pool: its position i is ``Score.rows[i]``.
        features: their values, as a method gets them.
        warmed_on: positions in the whole pool that the warm-up trained on; none without one.
    """

    pool: Pool
    features: Features
    warmed_on: np.ndarray


@dataclass(frozen=True, eq=False)
class Train:
    """Request: some optimiser steps on rows.

    Attributes:
        rows: positions in the pool, [n] of int64; a multiset. Training makes passes over it until the steps are over.
        steps: at least one.
        weights: [n], above zero, what the loss of each row is multiplied by; None: 1 for all. If there are weights, the
            answer has losses.
        stands_for: what the weights sum to: how many rows the visited ones speak for. None: n.
        ordered: the rows are the batches, one after the other: n = steps · batch_size.

    The answer is the last loss of each row, [n] of float64, as it was when the row was trained on; NaN for a row that
    was not, or has no answer.
    """

    rows: np.ndarray
    steps: int
    weights: np.ndarray | None = None
    stands_for: int | None = None
    ordered: bool = False


Requests = Generator[Score | Train, Scored | np.ndarray, None]


class Schedule(Protocol):
    """A frozen dataclass whose fields are its options; `selectmm.schedules.check.check_schedule` is its contract.

    Attributes:
        wraps: whether it chooses by the run's method; otherwise ``method`` is not looked at.
    """

    @property
    def wraps(self) -> bool:
        """See the class."""
        ...

    def check(self, course: Course) -> None:
        """What can be known before anything is computed.

        Raises:
            UserError: the course cannot be shared out like this.
        """
        ...

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        """Yield requests until all steps are trained; each ``yield`` returns the answer to its request.

        It is run again from the start when a killed run goes on, with the same answers; ``rng`` is the only source of
        randomness.
        """
        ...


def name_of(schedule: Schedule, method: str) -> str:
    """The schedule's file name, and the method where it wraps one: ``reselect+prism``."""
    own = type(schedule).__module__.rpartition(".")[2]
    return f"{own}+{method}" if schedule.wraps else own


def parts(steps: int, count: int) -> list[int]:
    """``steps`` in ``count`` parts that differ by one at most, the longer ones first."""
    return [steps // count + (part < steps % count) for part in range(count)]


def check_share(name: str, value: float, zero: bool = False) -> None:
    """Whether an option is a share.

    Raises:
        UserError: it is not above 0 (or 0, with ``zero``) and at most 1.
    """
    if not (0 < value <= 1 or (zero and value == 0)):
        raise UserError(f"schedule.{name}={value:g} is not a share; give a number from 0 to 1, such as 0.5.")
