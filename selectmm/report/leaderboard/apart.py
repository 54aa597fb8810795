"""How each board differs from the others, in words."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selectmm.records.groups import TARGETS, Group

OF_SUITE = ("material", "items", "limit", "task_files", "prompts")  # of an evaluator: another suite has others


def apart_in_words(groups: Sequence[Group]) -> list[str]:
    """A sentence for each group, numbered from 1 as its board; empty ones if there is one group."""
    every = [group.conditions for group in groups]
    return [_sentence(number, every) for number in range(len(every))]


def _sentence(mine: int, every: Sequence[Mapping[str, Any]]) -> str:
    if len(every) < 2:
        return ""
    boards: dict[str, list[str]] = {}
    for number, other in enumerate(every):
        if number != mine:
            kinds = list(dict.fromkeys(_kinds(every[mine], other))) or ["evaluator"]  # of which one lacks an entry
            boards.setdefault(_listed(kinds), []).append(f"{number + 1}")
    parts = [f"from board{'s' * (len(of) > 1)} {_listed(of)} in {words}" for words, of in boards.items()]
    return f"Not to be compared with other boards. It differs {'; '.join(parts)}."


def _kinds(mine: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """What two groups differ in, as a reader would name it: pool, suite, recipe (lr), …, some of them repeated."""
    for name in dict.fromkeys([*mine, *other]):
        kind, _, rest = name.partition(".")
        field = rest.split(".")[-1]
        one_side = name not in mine or name not in other  # a benchmark or target examples that one group does not have
        if mine.get(name) == other.get(name) or (one_side and kind in ("evaluator", TARGETS)):
            continue
        of_suite = kind == "benchmarks" or (kind == "evaluator" and field in OF_SUITE)
        if of_suite and mine["suite"] != other["suite"]:
            continue
        if kind == "evaluator":
            yield "prompts" if field == "prompts" else "evaluator"
        else:
            yield f"{kind} ({field})" if kind in ("recipe", "strategy") else kind


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
