"""Values of `configs/run.yaml` that no class declares, checked one by one."""

from pathlib import Path
from typing import TypeVar

from selectmm.errors import UserError
from selectmm.fields import as_typed

Number = TypeVar("Number", int, float)


def switch(key: str, value: object) -> bool:
    """The value of a key that has to be true or false.

    Raises:
        UserError: it is neither.
    """
    if not isinstance(value, bool):
        raise UserError(f"{key}={value} is neither true nor false; set {key}=true or {key}=false.")
    return value


def folder(key: str, value: object) -> Path:
    """The value of a key that has to name a folder.

    Raises:
        UserError: it is no word, or an empty one.
    """
    if not (isinstance(value, str) and value):
        raise UserError(f"{key}={as_typed(value)} is not a folder; set {key}=outputs/{key} or another folder.")
    return Path(value)


def number(key: str, value: object, kind: type[Number]) -> Number:
    """The value of a key that has to be a number.

    Raises:
        UserError: it is none, or has to be a whole number and is another, or one below zero.
    """
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        kind_of = "a whole number, such as 0 or 1" if kind is int else "a number"
        raise UserError(f"{key}={as_typed(value)} is not {kind_of}.")
    if kind is int and value < 0:
        raise UserError(f"{key}={value} is below zero; set it to 0 or more.")
    return kind(value)
