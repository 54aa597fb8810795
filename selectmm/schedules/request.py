"""Whether what a schedule asks for can be done: a schedule may be anybody's code."""

import numpy as np

from selectmm.errors import UserError
from selectmm.schedules.schedule import Course, Schedule, Score, Train


def check_request(schedule: Schedule, request: object, course: Course) -> None:
    """Refuse rows that would be read as others than were meant, and weights that are not one for each row.

    Raises:
        UserError: it is neither a `Score` nor a `Train`, or its rows or weights are not what these say.
    """
    name, pool = type(schedule).__name__, course.pool
    if not isinstance(request, Score | Train):
        raise UserError(f"{name} asks for a {type(request).__name__}; yield a Score or a Train.")
    rows, what = np.asarray(request.rows), type(request).__name__
    if rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
        raise UserError(
            f"Rows of a {what} of {name} have shape {rows.shape} and type {rows.dtype}; give positions in the pool, "
            "[n] of whole numbers: those of a choice are its .rows, those of a mask np.flatnonzero of it."
        )
    if rows.min() < 0 or rows.max() >= len(pool):
        odd = rows.min() if rows.min() < 0 else rows.max()
        raise UserError(
            f"A {what} of {name} names row {odd}, but the pool has rows 0 to {len(pool) - 1}; positions among scored "
            f"rows are led back by the rows of that Score."
        )
    if isinstance(request, Score):
        if (np.diff(rows.astype(np.int64)) <= 0).any():
            raise UserError(f"The rows of a Score of {name} are not ascending and distinct; give np.unique of them.")
        return
    weights = None if request.weights is None else np.asarray(request.weights)
    if weights is not None and (weights.shape != rows.shape or not ((weights > 0) & np.isfinite(weights)).all()):
        raise UserError(
            f"The weights of a Train of {name} are not one number above zero for each of its {len(rows):,} rows."
        )
    if request.ordered and len(rows) != request.steps * course.batch_size:
        raise UserError(
            f"An ordered Train of {name} has {len(rows):,} rows for {request.steps:,} steps of {course.batch_size}; "
            f"give {request.steps * course.batch_size:,}, batch after batch."
        )
