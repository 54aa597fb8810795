"""What no schedule can ask for, and what is said of it before anything is computed and during a run."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.methods.check import invented_pool
from selectmm.methods.el2n import El2n
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset
from selectmm.schedules.forecast import forecast
from selectmm.schedules.schedule import Course, Requests, Score, Train
from selectmm.stages.rounds import Rounds

POOL = invented_pool(10)
COURSE = Course(POOL, El2n(), 4, 3, 4)
NEEDS = Needs((AnswerLoss(),))


@dataclass(frozen=True, eq=False)
class Asks:
    """Asks for one thing after the other."""

    what: Sequence[object]
    wraps: bool = False

    def check(self, course: Course) -> None:
        pass

    def rounds(self, course: Course, rng: np.random.Generator) -> Requests:
        yield from self.what


REFUSED = [
    (
        Train(np.arange(10) < 4, 3),
        "Rows of a Train of Asks have shape (10,) and type bool; give positions in the pool, [n] of whole numbers: "
        "those of a choice are its .rows, those of a mask np.flatnonzero of it.",
    ),
    (
        Train(Subset(np.arange(4)), 3),
        "Rows of a Train of Asks have shape () and type object; give positions in the pool, [n] of whole numbers: "
        "those of a choice are its .rows, those of a mask np.flatnonzero of it.",
    ),
    (
        Train(np.array([0, -3]), 3),
        "A Train of Asks names row -3, but the pool has rows 0 to 9; positions among scored rows are led back by the "
        "rows of that Score.",
    ),
    (
        Score(np.array([0, 10]), NEEDS),
        "A Score of Asks names row 10, but the pool has rows 0 to 9; positions among scored rows are led back by the "
        "rows of that Score.",
    ),
    (
        Score(np.arange(10)[::-1], NEEDS),
        "The rows of a Score of Asks are not ascending and distinct; give np.unique of them.",
    ),
    (
        Train(np.arange(4), 3, np.array([1.0, 0.0, 2.0, 1.0])),
        "The weights of a Train of Asks are not one number above zero for each of its 4 rows.",
    ),
    (
        Train(np.arange(4), 3, np.array([1.0, np.inf, 2.0, 1.0])),
        "The weights of a Train of Asks are not one number above zero for each of its 4 rows.",
    ),
    (
        Train(np.arange(5), 3, ordered=True),
        "An ordered Train of Asks has 5 rows for 3 steps of 4; give 12, batch after batch.",
    ),
    (np.arange(4), "Asks asks for a ndarray; yield a Score or a Train."),
]


@pytest.mark.parametrize(("what", "said"), REFUSED)
def test_what_would_be_read_as_other_rows_is_refused_before_anything_is_computed(what: object, said: str) -> None:
    """A mask would train on the first two rows; features of reversed rows would be those of others."""
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        forecast(Asks([what]), COURSE, lambda _warmup: np.arange(2), 0)


@pytest.mark.parametrize(("what", "said"), REFUSED)
def test_and_in_a_run_whose_scores_lead_to_it(what: object, said: str) -> None:
    experiment = SimpleNamespace(seed=0, schedule=Asks([what]))
    rounds = Rounds(experiment, POOL, None, None, COURSE, None, (), lambda _told: None)
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        rounds.follow()
