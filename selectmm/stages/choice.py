"""Ask a method for its choice, and check what it gives: a method may be anybody's code."""

from dataclasses import dataclass, replace

import numpy as np

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.method import Method, Needs
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool

NUMBERS = "fiub"  # NumPy's kinds of floats, whole numbers and truth values


@dataclass(frozen=True)
class Checked:
    """A method whose choices are checked, for whoever asks it."""

    method: Method

    def needs(self) -> Needs:
        """Those of the method."""
        return self.method.needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The method's choice; see `checked` for errors."""
        return checked(self.method.select(pool, features, budget, rng), self.method, pool)


def checked(chosen: object, method: Method, pool: Pool) -> Subset:
    """What a method gave as a subset that can be kept: scores are floats, counts whole numbers of Python.

    Raises:
        UserError: it is no subset, keeps no row or one that the pool does not have, or its scores are not one number
            for each row of the pool.
    """
    name, last = type(method).__name__, len(pool) - 1
    if not isinstance(chosen, Subset):
        raise UserError(f"{name}.select gave a {type(chosen).__name__}, not a Subset; return Subset(rows, scores).")
    if len(chosen.rows) == 0:
        raise UserError(f"{name}.select kept no row; keep as many as the budget says.")
    if len(outside := chosen.rows[(chosen.rows < 0) | (chosen.rows > last)]):
        raise UserError(
            f"{name}.select kept row {outside[0]}, but the pool has rows 0 to {last}; give positions in the pool, not "
            f"among some of its rows or its images."
        )
    excluded = {str(why): int(count) for why, count in chosen.excluded.items()}
    return replace(chosen, scores=_floats(chosen.scores, name, len(pool)), excluded=excluded)


def _floats(scores: object, name: str, rows: int) -> np.ndarray | None:
    if scores is None:
        return None
    found = np.asarray(scores)
    if found.shape != (rows,) or found.dtype.kind not in NUMBERS:
        raise UserError(
            f"{name}.select gave scores of shape {found.shape} and type {found.dtype} for a pool of {rows} rows; give "
            f"one number for each row of the pool, NaN where a row has none."
        )
    return found if found.dtype.kind == "f" else found.astype(np.float64)
