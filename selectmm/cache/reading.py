"""Rebuild frozen dataclasses from JSON, every field checked against its annotation."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


class Mismatch(Exception):
    """JSON that does not fit; the message is half a sentence that names the field."""


def read(kind: Any, value: Any, where: str = "") -> Any:
    """Read parsed JSON as ``kind``: a dataclass, scalar, ``X | None``, ``tuple[X, ...]`` or ``Mapping[str, X]``.

    Args:
        where: dotted path of the value, for messages.

    Raises:
        Mismatch: a field is missing, unknown or of another type. Defaults do not excuse a missing field: files hold
            everything.
    """
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    if kind in (object, Any):  # open, as a method's options are
        return value
    origin, inner = get_origin(kind), get_args(kind)
    if origin is UnionType:
        real = next(option for option in inner if option is not NoneType)
        return None if value is None else read(real, value, where)
    if origin is tuple:
        _expect(isinstance(value, list), "a list", value, where)
        return tuple(read(inner[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is Mapping:
        _expect(isinstance(value, dict), "an object", value, where)
        return {key: read(inner[1], item, f"{where}.{named(key)}") for key, item in value.items()}
    return _scalar(kind, value, where)


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), "an object", value, where)
    taken = _taken(kind)
    prefix = f"{where}." if where else ""
    if value.keys() != taken.keys():
        if missing := [name for name in taken if name not in value]:
            raise Mismatch(f"field '{prefix}{missing[0]}' is missing")
        unknown = next(name for name in value if name not in taken)
        raise Mismatch(f"field '{prefix}{named(unknown)}' is unknown")
    unlike = [name for name, kinds in taken.items() if type(value[name]) not in kinds]
    if not unlike:
        return kind(**value)
    hints = _hints(kind)
    return kind(**{**value, **{name: read(hints[name], value[name], prefix + name) for name in unlike}})


@cache
def _taken(kind: Any) -> dict[str, frozenset[type]]:
    """By field, the types whose values are right as they are: of hundreds of thousands of answers most fields are."""
    kinds = {name: get_args(hint) if isinstance(hint, UnionType) else (hint,) for name, hint in _hints(kind).items()}
    return {name: frozenset(some) & {str, int, float, bool, NoneType} for name, some in kinds.items()}


@cache  # slow, and asked for every answer of an evaluation
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {entry.name: hints[entry.name] for entry in fields(kind) if entry.init}


def _scalar(kind: Any, value: Any, where: str) -> Any:
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if kind is float:  # JSON does not tell 1 from 1.0
        _expect(isinstance(value, float) or (is_int and abs(value) < 2**1023), "a number", value, where)
        return float(value)
    good = is_int if kind is int else isinstance(value, kind)
    _expect(good, {int: "a whole number", str: "a text", bool: "true or false"}[kind], value, where)
    return value


def _expect(good: bool, what: str, value: object, where: str) -> None:
    if not good:
        raise Mismatch(f"field '{where}' is {_excerpt(value)}, not {what}")


def named(key: str) -> str:
    """A key as a message names it: printable and short."""
    return f"{key if key.isprintable() else ascii(key)[1:-1]:.40}"


def _excerpt(value: object) -> str:
    """The beginning of a value; one of ten thousand nested lists has no representation."""
    try:
        return f"{value!a:.60}"
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        return f"a {type(value).__name__}"
