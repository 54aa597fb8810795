"""Where in a pool a suite's items are.

An item *with* a picture occurs in the pool if one row shows its picture and asks its question. A picture alone, or a
question alone (which templated benchmarks repeat by design), is counted apart. An item *without* a picture occurs if a
row asks its question. Each is the same or nearly the same: see pictures.py and texts.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from selectmm.contamination import pictures, texts
from selectmm.pool.pictures import Pictures
from selectmm.pool.pool import Pool

ROWS = 4096  # read at a time
LISTED = 20  # rows named for an item; all of them are counted

SAME, NEAR = "same", "near"

Entry = Mapping[str, Any]  # an item as it is kept: task, name, prompt, and the indices of its pictures


@dataclass(frozen=True)
class Found:
    """How many of one task's items occur in the pool.

    Attributes:
        items: looked for; ``shown`` of them have a picture.
        same, near: items that occur (see the module): exactly, and only nearly.
        same_pictures, near_pictures: items whose picture occurs, with whatever question.
        same_questions, near_questions: items whose question occurs, with whatever picture.
    """

    items: int
    shown: int
    same: int = 0
    near: int = 0
    same_pictures: int = 0
    near_pictures: int = 0
    same_questions: int = 0
    near_questions: int = 0


@dataclass(frozen=True)
class Match:
    """One item and the rows of the pool that it was found in: `SAME` or `NEAR`, or "" for not at all."""

    benchmark: str
    item: str
    prompt: str
    shown: bool
    whole: str
    picture: str
    question: str
    rows: tuple[int, ...]
    rows_in_all: int


def count(matches: Sequence[Match]) -> Found:
    """The counts over some items."""
    return Found(
        items=len(matches),
        shown=sum(match.shown for match in matches),
        same=sum(match.whole == SAME for match in matches),
        near=sum(match.whole == NEAR for match in matches),
        same_pictures=sum(match.picture == SAME for match in matches),
        near_pictures=sum(match.picture == NEAR for match in matches),
        same_questions=sum(match.question == SAME for match in matches),
        near_questions=sum(match.question == NEAR for match in matches),
    )


def matches_of(pool: Pool, images: Pictures, entries: Mapping[str, Sequence[Entry]], shown: Pictures) -> list[Match]:
    """Look for every item in the pool; one match each, in order, those that were not found among them.

    Args:
        images: the pool's unique ones, in its order.
        entries: items by the names of the benchmarks that share their task; ``pictures`` are indices into ``shown``.
    """
    equal, close = pictures.same(shown, images), pictures.nearly(shown, images)
    owners = _owners(pool)
    texts_of = _own_texts(entries)
    distinct = list(dict.fromkeys(texts_of.values()))
    places = {text: index for index, text in enumerate(distinct)}
    asked, near = texts.same_questions(distinct, _rows(pool)), texts.near_questions(distinct, _rows(pool))
    found = []
    for benchmarks, items in entries.items():
        for item in items:
            index = places[texts_of[str(item["name"])]]
            same_rows = _rows_of(equal, item, owners), set(asked.get(index, ()))
            near_rows = _rows_of(close, item, owners) | same_rows[0], set(near.get(index, ())) | same_rows[1]
            found.append(_match(benchmarks, item, same_rows, near_rows))
    return found


def _match(benchmarks: str, item: Entry, same: tuple[set[int], set[int]], near: tuple[set[int], set[int]]) -> Match:
    """``same`` and ``near`` hold the rows with the item's picture and those with its question."""
    shown = bool(item["pictures"])
    kinds = [SAME if some else NEAR if others else "" for some, others in zip(same, near, strict=True)]
    wholes = [rows[0] & rows[1] if shown else rows[1] for rows in (same, near)]
    whole = SAME if wholes[0] else NEAR if wholes[1] else ""
    found_in = sorted(wholes[0] or wholes[1] or same[0] or near[0] or same[1] or near[1])
    name, prompt = str(item["name"]), str(item["prompt"])
    picture, question = kinds
    return Match(benchmarks, name, prompt, shown, whole, picture, question, tuple(found_in[:LISTED]), len(found_in))


def _rows(pool: Pool) -> Iterator[texts.Row]:
    """What each row says, a few thousand in memory at a time."""
    for batch in pool.table.select(["turns"]).to_batches(max_chunksize=ROWS):
        yield from (_row(turns) for turns in batch.column(0).to_pylist())


def _row(turns: Sequence[Mapping[str, str]]) -> texts.Row:
    asked = "\n".join(turn["text"] for turn in turns if turn["role"] == "user")
    return texts.Row(asked, "\n".join(turn["text"] for turn in turns))


def _owners(pool: Pool) -> list[np.ndarray]:
    """For each unique image the rows that show it."""
    ends, of = pool.shown
    rows = np.repeat(np.arange(len(pool)), np.diff(ends))
    order = np.argsort(of, kind="stable")
    edges = np.searchsorted(of[order], np.arange(len(pool.images) + 1))
    return [rows[order[start:end]] for start, end in pairwise(edges)]


def _rows_of(found: Sequence[Sequence[int]], item: Entry, owners: Sequence[np.ndarray]) -> set[int]:
    return {int(row) for picture in item["pictures"] for image in found[picture] for row in owners[image]}


def _own_texts(entries: Mapping[str, Sequence[Entry]]) -> dict[str, tuple[str, ...]]:
    """By item name its own pieces, task by task."""
    tasks: dict[str, list[Entry]] = {}
    for items in entries.values():
        for item in items:
            tasks.setdefault(str(item["task"]), []).append(item)
    return {
        str(item["name"]): own
        for items in tasks.values()
        for item, own in zip(items, texts.own_pieces([str(item["prompt"]) for item in items]), strict=True)
    }
