"""A row's own system prompt: a turn of its own, or what `pool.system` makes of it for templates without that place."""

from collections.abc import Mapping
from typing import Any, Literal

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.content import Named, text_of
from selectmm.pool.sample import Turn
from selectmm.pool.turns import SYSTEM, Spelling

System = Literal["turn", "stop", "join", "leave_out"]
"""What becomes of it. ``turn``: it is the row's first turn, in place of the one that a model's template brings; models
whose template has no such place cannot take the row (`selectmm.models.check_rows`). ``stop``: the row is bad. ``join``:
its text is put in front of the first question, a blank line between. ``leave_out``: it is taken out. Rows that had one
are counted."""


def check_system(option: str) -> None:
    """Whether it is one of `System`.

    Raises:
        UserError: it is not.
    """
    if option not in ("turn", "stop", "join", "leave_out"):
        raise UserError(f"pool.system={option} is not valid; choose turn, stop, join or leave_out.")


def system_of(
    row: Mapping[str, Any], said: list[object], spelling: Spelling, unread: list[str]
) -> tuple[str, list[object]]:
    """The system prompt, from a field ``system`` or a first turn of that role (empty without one), and the other turns.

    Args:
        unread: names of fields in its parts that say something and are not read are added to it.

    Raises:
        BadRow: it is no text, or both are there and differ.
    """
    field, first = row.get("system"), said[0]
    turn = None
    if first.__class__ is dict and first.get(spelling[0]) in SYSTEM:
        turn, said = first.get(spelling[1]), said[1:]
        if field is None and turn.__class__ is str:  # nearly all; a text of blanks is one, as below
            return turn, said
    found: list[Any] = [value for value in (field, turn) if not empty(value)]
    images = Named([], [])
    found = [text_of(value, 0, images, unread) if isinstance(value, list) else value for value in found]
    for value in found:
        if not isinstance(value, str) or any(images):
            raise BadRow("a system prompt that is no text", f"has a system prompt that is no text: {shown(value)}")
    if len(found) == 2 and found[0] != found[1]:
        raise BadRow(
            "fields that contradict each other",
            f"has a field 'system' {shown(field)} and a system turn {shown(turn)}; keep one of them",
        )
    return (found[0] if found else ""), said


def joined(turns: list[Turn], system: str, option: System) -> list[Turn]:
    """The turns with the system prompt dealt with.

    Raises:
        BadRow: the option is ``stop``.
    """
    if option == "stop":
        raise BadRow(
            "a system prompt",
            f"has a system turn ({shown(system)}); set pool.system=turn to keep it, pool.system=join to put its text "
            f"in front of the first question, or pool.system=leave_out",
        )
    if option == "turn":
        return [Turn("system", system), *turns]
    asked = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
    if option == "leave_out" or asked is None:
        return turns
    return [*turns[:asked], Turn("user", f"{system}\n\n{turns[asked].text}"), *turns[asked + 1 :]]
