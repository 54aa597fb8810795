"""Rows of a list that others released, found again in the pool: by what they say, or by their numbers in the file."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import cycle
from typing import Literal

import numpy as np

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow, shown
from selectmm.pool.llava_json import read_llava
from selectmm.pool.places import positions_in
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Shown, Turn

Missing = Literal["stop", "leave_out"]
_Key = tuple[tuple[tuple[str, int, int, bool], ...], tuple[str, ...]]  # images, each with its place; and texts


def are_rows(content: object) -> bool:
    """Whether a file's content is a list of whole rows in LLaVA's JSON."""
    return (
        isinstance(content, list) and bool(content) and isinstance(content[0], dict) and "conversations" in content[0]
    )


def positions_of_rows(pool: Pool, rows: Sequence[object], file: str, missing: Missing) -> tuple[np.ndarray, int]:
    """Positions of rows that are given as they are, in LLaVA's JSON; fields such as a score of theirs are ignored.

    Texts, images and the images' places have to be the same. A row that the pool has several times is each of them in
    turn.

    Returns:
        The positions, [n] of int64, and how many rows of the list the pool does not have.

    Raises:
        UserError: a row cannot be read, or the pool does not have it and ``missing`` is ``stop``.
    """
    wanted = [_key_of(row, f"{file} lists a row {number} that") for number, row in enumerate(rows)]
    asked, there = set(wanted), {}
    for position in range(len(pool)):
        sample = pool[position]
        key = _key(sample.images, sample.turns)
        if key in asked:
            there.setdefault(key, []).append(position)
    turns = {key: cycle(positions) for key, positions in there.items()}
    found = [next(turns[key]) for key in wanted if key in turns]
    absent = [number for number, key in enumerate(wanted) if key not in turns]
    if absent and (missing == "stop" or not found):
        raise UserError(
            f"{file}: {len(absent):,} of its {len(wanted):,} rows are not in the pool, the first of them row "
            f"{absent[0]} ({shown(rows[absent[0]])}); choose the pool that the list was made from, or set "
            f"method.missing=leave_out if it lacks some rows on purpose."
        )
    return np.array(found, np.int64), len(absent)


def positions_of_numbers(pool: Pool, numbers: np.ndarray, file: str, missing: Missing) -> tuple[np.ndarray, int]:
    """Positions of rows that are given by their numbers in the pool's file, from 0, whichever of them the pool has.

    Blank lines of a file with a row on each line are no rows.

    Returns:
        As `positions_of_rows`.

    Raises:
        UserError: the pool does not have one of them, and ``missing`` is ``stop``.
    """
    places: list[int] = numbers.tolist()
    if pool.counted_in == "line":
        blank = pool.health.blank if pool.health else []
        # Row n is on line n + 1, and one line further for each blank line in front of it. A blank line with k others
        # before it is in front of all rows from n + 1 = line - k on.
        before = [line - others for others, line in enumerate(blank)]
        places = [place + 1 + bisect_right(before, place + 1) for place in places]
    if missing == "leave_out":
        columns = pool.table.column_names
        there = set(pool.table["place"].to_pylist() if "place" in columns else range(len(pool)))
        places = [place for place in places if place in there]
        if not places:
            raise UserError(f"{file} lists no row of the pool: it was made for another file, or counts from 1.")
    found = positions_in(pool, [{pool.counted_in: place} for place in places], file)
    return np.array(found, np.int64), len(numbers) - len(found)


def _key(images: Sequence[Shown], turns: Sequence[Turn]) -> _Key:
    """What a row is found by."""
    shown_at = tuple((one.path, one.turn, one.at, one.video) for one in images)
    return shown_at, tuple(turn.text for turn in turns)


def _key_of(content: object, who: str) -> _Key:
    try:
        row = read_llava(content)
    except BadRow as problem:
        raise UserError(f"{who} {problem}.") from problem
    return _key(row.images, row.turns)
