"""Whether the fields of a dataclass hold what they are declared to be: Python itself does not look."""

import operator
from dataclasses import asdict, fields, is_dataclass
from math import isfinite
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt

from selectmm.errors import UserError

SCALARS = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "a word"),
}
BOUNDS = (
    (Ge, operator.ge, "to {:g} or more"),
    (Gt, operator.gt, "above {:g}"),
    (Le, operator.le, "to {:g} or less"),
    (Lt, operator.lt, "below {:g}"),
)


def check_fields(made: Any) -> None:
    """Check words against their `Literal`, scalars against their type, and numbers against the range in `Annotated`.

    Fields that are dataclasses, such as a method's warm-up, are checked too.

    Raises:
        UserError: naming the first value that does not fit, and what it may be.
    """
    hints, ranges = get_type_hints(type(made)), get_type_hints(type(made), include_extras=True)
    for field in fields(made):
        kind, value = hints[field.name], getattr(made, field.name)
        what = f"{type(made).__name__}: {field.name}={value}"
        if is_dataclass(value):
            check_fields(value)
        if get_origin(kind) is Literal and value not in get_args(kind):
            known = ", ".join(str(choice) for choice in get_args(kind))
            raise UserError(f"{type(made).__name__} has no {field.name}={value}; there are: {known}.")
        if kind in SCALARS and type(value) not in SCALARS[kind][0]:
            raise UserError(f"{what} is not {SCALARS[kind][1]}.")
        if isinstance(value, float) and not isfinite(value):  # no record could hold it
            raise UserError(f"{what} is not a finite number.")
        for limit in _limits(ranges[field.name]) if isinstance(value, int | float) else ():
            _check_range(what, value, limit)


def _limits(kind: Any) -> list[Any]:
    """The limits of an ``Annotated`` number, which may be optional."""
    if get_origin(kind) is Annotated:
        return [limit for given in kind.__metadata__ for limit in (given if isinstance(given, Interval) else [given])]
    return [limit for inner in get_args(kind) if get_origin(inner) is Annotated for limit in _limits(inner)]


def _check_range(what: str, value: float, limit: Any) -> None:
    """Raises:
    UserError: the value is beyond the limit."""
    for kind, holds, told in BOUNDS:
        if isinstance(limit, kind):
            (bound,) = asdict(limit).values()
            if not holds(value, bound):
                raise UserError(f"{what} is out of range; set it {told.format(bound)}.")
