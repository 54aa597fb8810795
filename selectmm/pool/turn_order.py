"""Which turns of a row are used: questions and answers, calls and results have to alternate."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from selectmm.pool.bad import BadRow
from selectmm.pool.sample import ANSWERS, Role, Turn

HEAD = ("system", "tools")  # turns in front of the first question


class Order(NamedTuple):
    """Which turns of a row are used, ``[0, head)`` and ``[first, last)``, and which of these asks first.

    ``tools``: whether one offers or calls a tool, or is its result; earlier versions read none of these.
    """

    head: int
    first: int
    last: int
    asked: int
    tools: bool


@lru_cache(maxsize=1_000)  # a pool has few orders
def order_of(roles: tuple[Role, ...]) -> Order:
    """Leave out an answer at the very front (behind system prompt and tools) and a question at the very end.

    Raises:
        BadRow: the others do not alternate.
    """
    head = 0
    while head < len(roles) and roles[head] in HEAD:
        head += 1
    first = head + (1 if len(roles) > head and roles[head] == "assistant" else 0)
    last = len(roles) - (1 if roles and roles[-1] == "user" else 0)
    left = [*roles[:head], *roles[first:last]]
    if not _tools_in_order(left):
        found = ", ".join(left[:8]) + (", …" if len(left) > 8 else "") if left else "no question with its answer"
        raise BadRow(
            "turns that do not alternate",
            f"does not alternate human and gpt, ending in gpt (it has: {found}); every question needs its answer, and "
            f"every result of a tool its call",
        )
    return Order(head, first, last, left.index("user"), not _TALK.issuperset(roles))


def check_trained(turns: Sequence[Turn]) -> None:
    """Whether a row has an answer to train on.

    Raises:
        BadRow: it has none.
    """
    for turn in turns:
        if turn.trained and turn.role in ANSWERS:
            return
    raise BadRow("no answer to train on", "has no answer to train on: all are marked as context (loss or weight)")


_TALK = frozenset({"system", "user", "assistant"})
_LETTERS = {"system": "s", "tools": "t", "user": "u", "assistant": "a", "tool_call": "c", "tool_result": "r"}
_IN_ORDER = re.compile(r"s?t?u(?:ac*|c+)(?:(?:u|(?<=c)r+)(?:ac*|c+))*")


def _tools_in_order(roles: Sequence[Role]) -> bool:
    """Whether system prompt and tools come first, results behind calls, and answers or calls behind all others."""
    return _IN_ORDER.fullmatch("".join(map(_LETTERS.__getitem__, roles))) is not None
