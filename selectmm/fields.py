"""Whether the values of a configuration are what the dataclass or function that takes them declares: Python itself does
not look.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from inspect import Parameter, signature
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, Le, Lt

from selectmm.errors import UserError

SCALARS = {
    int: ((int,), "a whole number", "whole numbers"),
    float: ((int, float), "a number", "numbers"),
    bool: ((bool,), "true or false", "true or false"),
    str: ((str,), "a word", "words"),
    NoneType: ((NoneType,), "null", "null"),
}
BOUNDS = (
    (Ge, operator.ge, "to {:g} or more"),
    (Gt, operator.gt, "above {:g}"),
    (Le, operator.le, "to {:g} or less"),
    (Lt, operator.lt, "below {:g}"),
)


def check_values(target: Callable[..., Any], values: Mapping[str, Any], key: str) -> None:
    """Check names against those that the target has, words against their `Literal`, scalars and lists of them against
    their type, and numbers against the range in `Annotated`.

    Args:
        target: a dataclass, or a function. values: what it is called with, by name; mappings are not looked into.
        key: what stands before the names on the command line, such as ``method``.

    Raises:
        UserError: naming the first value that does not fit, and what it may be.
    """
    try:
        hints, ranges = get_type_hints(target), get_type_hints(target, include_extras=True)
    except NameError:  # a stranger's module imports some types for its type checker alone
        return
    known = signature(target).parameters
    if not any(each.kind is Parameter.VAR_KEYWORD for each in known.values()):
        for name in [name for name in values if name not in known and not name.startswith("_")]:  # Hydra's own have a _
            raise UserError(f"There is no '{key}.{name}'; there are: {', '.join(sorted(known))}.")
    for name in [name for name in values if name in hints and not isinstance(values[name], Mapping)]:
        _check_value(f"{key}.{name}", hints[name], values[name])
        for limit in _limits(ranges[name]) if isinstance(values[name], int | float) else ():
            _check_range(f"{key}.{name}={values[name]}", values[name], limit)


def _check_value(key: str, kind: Any, value: Any) -> None:
    what = f"{key}={as_typed(value)}"
    if get_origin(kind) is Literal and value not in get_args(kind):
        known = ", ".join(str(choice) for choice in get_args(kind))
        raise UserError(f"There is no {what}; there are: {known}.")
    if not _fits(kind, value):
        if not isinstance(value, list | tuple) and _fits(kind, [value]):
            raise UserError(f"{what} is not a list; write {key}=[{as_typed(value)}].")
        raise UserError(f"{what} is not {_kind(kind)}.")
    if isinstance(value, float) and not isfinite(value):  # no record could hold it
        raise UserError(f"{what} is not a finite number.")


def as_typed(value: Any) -> str:
    """A value as the command line has it."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    return str(value)


def _fits(kind: Any, value: Any) -> bool:
    """Whether the value is what is declared, as far as scalars, words and lists go; anything else fits."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return any(_fits(one, value) for one in inner)
    if get_origin(kind) is Literal:
        return value in inner
    if _is_list(kind):  # a word is a sequence too, of its letters
        alike = inner[0] if inner and (len(inner) == 1 or inner[1] is ...) else Any
        return isinstance(value, list | tuple) and all(_fits(alike, one) for one in value)
    return kind not in SCALARS or type(value) in SCALARS[kind][0]


def _is_list(kind: Any) -> bool:
    return (get_origin(kind) or kind) in (Sequence, list, tuple)


def _kind(kind: Any) -> str:
    """What a value that does not fit may be, in words."""
    inner = get_args(kind)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_kind(one) for one in inner)
    if get_origin(kind) is Literal:
        return " or ".join(str(choice) for choice in inner)
    if _is_list(kind):
        alike = f" of {SCALARS[inner[0]][2]}" if inner and inner[0] in SCALARS else ""
        return f"a list{alike} in brackets"
    return SCALARS[kind][1]


def _limits(kind: Any) -> list[Any]:
    """The limits of an ``Annotated`` number, which may be optional."""
    if get_origin(kind) is Annotated:
        return [limit for given in kind.__metadata__ for limit in (given if isinstance(given, Interval) else [given])]
    return [limit for inner in get_args(kind) if get_origin(inner) is Annotated for limit in _limits(inner)]


def _check_range(what: str, value: float, limit: Any) -> None:
    """Raises:
    UserError: the value is beyond the limit."""
    for kind, holds, wanted in BOUNDS:
        if isinstance(limit, kind):
            (bound,) = asdict(limit).values()
            if not holds(value, bound):
                raise UserError(f"{what} is out of range; set it {wanted.format(bound)}.")
