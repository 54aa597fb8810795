"""Turns of a row from the list that a file holds, in either spelling."""

from collections.abc import Mapping
from typing import Any

from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.content import Named, text_of
from selectmm.pool.fields import IN_A_TURN, TRAINED, check_fields, is_trained
from selectmm.pool.sample import ANSWERS, Role, Turn
from selectmm.pool.tools import calls_of

ROLES: dict[str, Role] = {
    **{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"},
    **dict.fromkeys(["tool_call", "function_call"], "tool_call"),
    **dict.fromkeys(["tool", "tool_response", "function", "observation"], "tool_result"),
}
CALLS = ("tool_calls", "function_call")  # fields of an answer: OpenAI's, and its older one
SYSTEM = ("system", "developer")
LLAVA, OPENAI = ("from", "value"), ("role", "content")  # how turns are spelled

Spelling = tuple[str, str]


def list_of_turns(row: Mapping[str, Any], read: str, other: str) -> list[object]:
    """The list of turns under the name ``read``, or under ``other`` if the first says nothing.

    Raises:
        BadRow: there is none, or both say something and differ.
    """
    said = row.get(read)
    if said.__class__ is list and said and row.get(other) is None:
        return said
    found = {name: row[name] for name in (read, other) if not empty(row.get(name))}
    if not found:
        has = ", ".join(sorted(str(name)[:40] for name in list(row)[:20])) or "nothing"
        raise BadRow("no turns", f"has no turns in '{read}' or '{other}'; it has: {has}")
    for name, value in found.items():
        if not isinstance(value, list):
            raise BadRow("turns that are no list", f"has '{name}' that is no list of turns: {shown(value)}")
    if len(found) == 2 and not _same(found[read], found[other]):
        raise BadRow(
            "fields that contradict each other", f"has turns in '{read}' and others in '{other}'; keep one list"
        )
    return next(iter(found.values()))


def _same(one: list[object], other: list[object]) -> bool:
    if one == other:
        return True
    images = Named([], []), Named([], [])
    said = [turns_of(turns, spelling_of(turns), [], inside) for turns, inside in zip((one, other), images, strict=True)]
    return said[0] == said[1] and images[0] == images[1]


def spelling_of(said: list[object]) -> Spelling:
    """Whether turns have ``role`` and ``content`` or ``from`` and ``value``, as the first one says."""
    first = said[0]
    return OPENAI if isinstance(first, dict) and first.get("role") is not None else LLAVA


def turns_of(said: list[Any], spelling: Spelling, unread: list[str], inside: Named) -> list[Turn]:
    """The turns, their texts as they are, with ``<image>`` where a content list has an image.

    Args:
        unread: names of fields in turns, parts and calls that say something and are not read are added to it.
        inside: what content lists show is added to it.

    Raises:
        BadRow: one has another shape or role, or a field that changes what it means.
    """
    role, text = spelling
    turns: list[Turn] = []
    for turn in said:
        try:
            who = ROLES[turn[role]]
            words = turn.get(text) if who == "assistant" else turn[text]  # calls may stand alone
        except (KeyError, TypeError):  # TypeError: no object, or a role that cannot be looked up
            raise _odd(turn, len(turns), spelling) from None
        if words.__class__ is list and who != "tool_call":
            words = text_of(words, len(turns), inside, unread)
        if words.__class__ is str and len(turn) == 2:
            if who != "tool_call":
                turns.append(Turn(who, words))
            else:
                turns += [Turn(who, call) for call in calls_of(words, len(turns), unread)]
        else:
            turns += _marked(turn, words, len(turns), spelling, unread)
    return turns


def _marked(turn: dict[str, Any], words: object, place: int, spelling: Spelling, unread: list[str]) -> list[Turn]:
    """A turn that has more fields than a role and a text, which says ``words``, or calls tools: and then several."""
    role, text = spelling
    who = ROLES[turn[role]]
    calls = [turn[name] for name in CALLS if who == "assistant" and not empty(turn.get(name))]
    known = {role, text, *TRAINED, *(CALLS if calls else ())}
    unread += [f"{name} of a turn" for name in check_fields(turn, known, IN_A_TURN)]
    trained = who not in ANSWERS or is_trained(turn)
    if who == "tool_call":
        return [Turn(who, call, trained) for call in calls_of(words, place, unread)]
    if calls and words is None:
        words = ""
    if words.__class__ is not str:
        raise _odd(turn, place, spelling)
    called = [Turn("tool_call", call, trained) for said in calls for call in calls_of(said, place, unread)]
    return [*([Turn(who, words, trained)] if words or not called else []), *called]


def _odd(turn: object, place: int, spelling: Spelling) -> BadRow:
    """Why a turn cannot be read: what was found, and what would be read."""
    role, text = spelling
    at = f"has in turn {place}"
    if not isinstance(turn, dict):
        return BadRow("a turn of another shape", f"{at} no object with '{role}' and '{text}': {shown(turn)}")
    who, words = turn.get(role), turn.get(text)
    if who is None:
        other = LLAVA if spelling == OPENAI else OPENAI
        hint = f" but '{other[0]}', which pool=sharegpt reads if all turns have it" if other[0] in turn else ""
        return BadRow("a turn without a role", f"{at} no '{role}'{hint}: {shown(turn)}")
    if not isinstance(who, str):
        return BadRow("a role that is no word", f"{at} a '{role}' that is no word: {shown(who)}")
    if who in SYSTEM:
        fault = f"{at} the role '{who}', and only a row's first turn may be of it"
        return BadRow("a system turn that is not the first", fault)
    if who not in ROLES:
        return BadRow("an unknown role", f"{at} the role {shown(who)}; known are {', '.join(ROLES)} and system")
    return BadRow("a turn without text", f"{at} a '{text}' that is no text: {shown(words)}")
