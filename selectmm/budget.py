"""How much of a pool is kept: a share of its rows, a number of rows, or hours of tuning on a GPU."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from selectmm.errors import UserError

if TYPE_CHECKING:
    from selectmm.pool.pool import Pool  # a second, and a command's words are read before

_HOURS = re.compile(r"(\d+(?:\.\d+)?)h@([\w.-]+)")


@dataclass(frozen=True)
class Hours:
    """A budget in hours, ``8h@h100``: the rows that one such GPU is tuned on in that time, by estimate."""

    hours: float
    gpu: str


def hours_in(budget: object) -> Hours | None:
    """The hours that a budget names; None if it names none.

    Raises:
        UserError: it names no hours at all: 0.
    """
    found = _HOURS.fullmatch(budget) if isinstance(budget, str) else None
    if found is None:
        return None
    if float(found[1]) == 0:
        raise UserError(f"budget={budget} allows no row; give more than 0 hours.")
    return Hours(float(found[1]), found[2])


def check_budget(budget: float) -> None:
    """A budget up to 1 is a share of the pool, a whole number above 1 is a number of rows.

    Raises:
        UserError: it is neither.
    """
    if not (0 < budget <= 1 or (budget > 1 and float(budget).is_integer())):
        raise UserError(
            f"budget={budget:g} is not a share of the pool; give a number above 0 and at most 1, such as 0.3, or a "
            f"whole number of rows, such as 5000."
        )


def rows_for(budget: float, pool: "Pool") -> int:
    """A budget in rows, at least one.

    Raises:
        UserError: it asks for more rows than the pool has.
    """
    if budget > len(pool) and budget > 1:
        raise UserError(
            f"budget={budget:.0f} asks for more rows than the pool has, {len(pool):,}; give fewer rows, or a share."
        )
    return int(budget) if budget > 1 else max(1, round(budget * len(pool)))


def share_of(budget: float, pool: "Pool") -> float:
    """A budget as a share of the pool, as records and tables have it: in (0, 1]."""
    return rows_for(budget, pool) / len(pool) if budget > 1 else budget


def in_words(budget: float) -> str:
    """The budget in words: ``0.3``, or ``5,000 rows``."""
    return f"{budget:,.0f} rows" if budget > 1 else f"{budget:g}"
