"""What a method of anybody's may give, and what is said of the rest."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.check import invented_pool
from selectmm.methods.method import Needs
from selectmm.methods.subset import Subset, load_subset, save_subset
from selectmm.pool.pool import Pool
from selectmm.stages.schedule import course_of
from selectmm.stages.select import chosen_by

POOL = invented_pool(10)


@dataclass(frozen=True, eq=False)
class Gives:
    """Gives something, whatever it is asked for."""

    what: object

    def needs(self) -> Needs:
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        return self.what


def given(what: object) -> Subset:
    return chosen_by(Gives(what), 2, 0, POOL, Features({}))


def test_whole_numbers_as_scores_can_be_kept_and_read_again(tmp_path: Path) -> None:
    """A feature of whole numbers, such as TokenCount, is given as it is; a count of NumPy's is no number of JSON's."""
    chosen = given(Subset(np.array([1, 3]), np.arange(10, dtype=np.int32), {"why": np.int64(2)}))
    save_subset(chosen, POOL, tmp_path)
    again = load_subset(tmp_path / "subset.json", POOL)
    assert again.scores.tolist() == list(range(10)) and again.excluded == {"why": 2}
    assert json.loads((tmp_path / "subset.json").read_text())["rows"] == [1, 3]


def test_scores_of_floats_stay_as_they_are() -> None:
    scores = np.linspace(0, 1, 10, dtype=np.float32)
    assert given(Subset(np.array([1, 3]), scores)).scores is scores


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (np.array([1, 2]), "Gives.select gave a ndarray, not a Subset; return Subset(rows, scores)."),
        (Subset(np.empty(0, int)), "Gives.select kept no row; keep as many as the budget says."),
        (
            Subset(np.array([3, 12])),
            "Gives.select kept row 12, but the pool has rows 0 to 9; give positions in the pool, not among some of its "
            "rows or its images.",
        ),
        (
            Subset(np.array([-1, 3])),
            "Gives.select kept row -1, but the pool has rows 0 to 9; give positions in the pool, not among some of its "
            "rows or its images.",
        ),
        (
            Subset(np.array([3, 4]), np.array([0.5, 0.25])),
            "Gives.select gave scores of shape (2,) and type float64 for a pool of 10 rows; give one number for each "
            "row of the pool, NaN where a row has none.",
        ),
        (
            Subset(np.array([3, 4]), [None] * 10),
            "Gives.select gave scores of shape (10,) and type object for a pool of 10 rows; give one number for each "
            "row of the pool, NaN where a row has none.",
        ),
    ],
)
def test_what_no_subset_can_be_is_said_before_it_is_kept(what: object, said: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(said)}$"):
        given(what)


def test_a_schedule_s_choices_are_checked_too() -> None:
    recipe = SimpleNamespace(batch_size=2, steps=lambda _pool, _rows: 3)
    course = course_of(POOL, Gives(Subset(np.array([-2]))), 2, recipe)
    with pytest.raises(UserError, match="kept row -2, but the pool has rows 0 to 9"):
        course.method.select(POOL, Features({}), 1, np.random.default_rng(0))
