"""What tools a row offers, and how it calls them, in the spellings of OpenAI, LLaMA-Factory and ms-swift.

Tools are JSON descriptions in a row's ``tools`` (or OpenAI's older ``functions``), a list or the text of one. A call is
an entry of an answer's ``tool_calls`` (OpenAI), or a turn of the role ``function_call`` (LLaMA-Factory) or
``tool_call`` (ms-swift) whose text is the JSON of one or several. In a pool each tool is a line of one turn, and each
call a turn, as Qwen's templates write them: ``{"name": …, "arguments": …}``.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from selectmm.pool.bad import BadRow, empty, shown
from selectmm.pool.fields import check_fields
from selectmm.pool.sample import Turn

_ENCODER = json.JSONEncoder(ensure_ascii=False)  # json.dumps would make one for every call
_DECODER = json.JSONDecoder()
_READ = frozenset({"function", "type", "name", "arguments", "parameters"})  # of a call; its type is always "function"


def tools_of(row: Mapping[str, Any]) -> list[Turn]:
    """The turn that offers the row's tools, in a list; no turn if there are none.

    Raises:
        BadRow: they are no JSON objects, or are given twice and differ.
    """
    tools = row.get("tools")
    if tools.__class__ is str and tools and row.get("functions") is None:
        return list(_turn_of(tools))
    found = [_listed(row[name], name) for name in ("tools", "functions") if not empty(row.get(name))]
    if len(found) == 2 and found[0] != found[1]:
        raise BadRow("fields that contradict each other", "has 'tools' and other 'functions'; keep one of them")
    return _offering(found[0]) if found else []


@lru_cache(maxsize=256)  # many rows of a pool offer the same tools
def _turn_of(said: str) -> tuple[Turn, ...]:
    return tuple(_offering(_listed(said, "tools")))


def _offering(tools: list[Mapping[str, Any]]) -> list[Turn]:
    return [Turn("tools", "\n".join(map(_written, tools)))] if tools else []


def with_tools(turns: list[Turn], row: Mapping[str, Any]) -> list[Turn]:
    """The turns with that of `tools_of` behind the system turn, if there is one."""
    offered = tools_of(row)
    head = 1 if turns and turns[0].role == "system" else 0
    return [*turns[:head], *offered, *turns[head:]] if offered else turns


def calls_of(said: object, place: int, unread: list[str]) -> list[str]:
    """The text of each call in ``tool_calls``, ``function_call`` or a call's turn.

    Args:
        place: of the turn, for sentences.
        unread: names of fields in calls that say something and are not read are added to it, such as ``id``: which
            result is a call's is known by its place.

    Raises:
        BadRow: one is no object with a name and arguments.
    """
    calls = _listed(said, f"turn {place}")
    for call in calls:
        if not _READ.issuperset(call):
            unread += [f"{name} of a call" for name in check_fields(call, _READ, {})]
    return [_call(call, place) for call in calls]


def _listed(said: object, name: str) -> list[Mapping[str, Any]]:
    """Objects from a list of them or of their texts, from one of them, or from the text of either."""
    value = _parsed(said, name)
    if value.__class__ is dict and value:
        return [value]
    items: list[Any] = value if isinstance(value, list) else [value]
    items = [_parsed(item, name) for item in items if not empty(item)]
    odd = next((item for item in items if not isinstance(item, Mapping)), None)
    if odd is not None:
        raise BadRow("tools that are no objects", f"has a tool or a call in {name} that is no object: {shown(odd)}")
    return items


def _parsed(said: object, name: str) -> object:
    if not isinstance(said, str):
        return said
    try:
        return _DECODER.decode(said)
    except (ValueError, RecursionError) as problem:
        raise BadRow(
            "tools that are no JSON", f"has in {name} tools or calls that are no JSON: {shown(said)}"
        ) from problem


def _call(call: Mapping[str, Any], place: int) -> str:
    inner = call.get("function", call)  # OpenAI's is an object in the call
    name = inner.get("name") if inner.__class__ is dict or isinstance(inner, Mapping) else None
    if not isinstance(name, str) or not name:
        raise BadRow("a call without a name", f"has in turn {place} a call of no named function: {shown(call)}")
    arguments = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str):  # OpenAI's are the text of an object
        arguments = _parsed(arguments, f"turn {place}") if arguments.strip() else {}
    if not (arguments is None or arguments.__class__ is dict or isinstance(arguments, Mapping)):
        raise BadRow(
            "a call without arguments", f"has in turn {place} a call whose arguments are no object: {shown(call)}"
        )
    return _written({"name": name, "arguments": {} if arguments is None else arguments})


def _written(value: object) -> str:
    """JSON as chat templates write it (transformers' ``tojson``)."""
    return _ENCODER.encode(value)
