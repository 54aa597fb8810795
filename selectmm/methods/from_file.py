"""Selections and scores that were made elsewhere; several images in a row change nothing here."""

import hashlib
import json
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Literal

import numpy as np

from selectmm.cache.arrays import load_numbers
from selectmm.cache.cost import charge
from selectmm.cache.reading import Mismatch
from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.method import Needs
from selectmm.methods.order import Keep, ranked_rows
from selectmm.methods.released import Missing, are_rows, positions_of_numbers, positions_of_rows
from selectmm.methods.statistic import numbers_at
from selectmm.methods.subset import Subset, load_subset
from selectmm.pool.bad import BadRow
from selectmm.pool.places import positions_in
from selectmm.pool.pool import Pool
from selectmm.pool.stream import LINES, json_rows


@dataclass(frozen=True)
class FromIndices:
    """Keeps the rows that a file lists, all of them, whatever the budget says; a row listed twice is trained on twice.

    Attributes:
        content: made from the file's bytes.
        file: a ``subset.json`` of ours, which knows its pool; whole rows in LLaVA's JSON or JSONL, which are found by
            what they say; numbers from 0 (a JSON list, a .npy array, or a .txt with one on each line); or what
            ``export subset --format indices`` writes: places in the pool's file.
        count: of numbers: positions among the pool's rows, or in its ``file``, bad and left-out rows included.
        missing: what to do with rows of the list that the pool does not have: ``stop``, or ``leave_out`` (counted).
    """

    file: str
    count: Literal["pool", "file"] = "pool"
    missing: Missing = "stop"
    content: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content", _digest(self.file))

    def needs(self) -> Needs:
        """Nothing but the file; it may name rows by their places in the pool's file."""
        return Needs(places=True)

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The rows that the file lists."""
        path = Path(self.file)
        content = _content(path)
        if isinstance(content, dict):
            return load_subset(path, pool)
        if are_rows(content):
            return _subset(*positions_of_rows(pool, content, str(path), self.missing))
        rows = _positions(positions_in(pool, content, str(path)))
        if rows is None or len(rows) == 0:
            raise UserError(f"{path} is no list of row positions; give whole numbers such as [0, 5, 17].")
        if self.count == "file":
            return _subset(*positions_of_numbers(pool, rows, str(path), self.missing))
        outside = rows[(rows < 0) | (rows >= len(pool))]
        if len(outside):
            raise UserError(
                f"{path} lists row {outside[0]}, but the pool has rows 0 to {len(pool) - 1}: it was made for another "
                f"pool, or counts from 1."
            )
        return Subset(rows.astype(np.int64))


def _subset(rows: np.ndarray, missing: int) -> Subset:
    return Subset(rows, excluded={"in the list, not in the pool": missing} if missing else {})


@dataclass(frozen=True)
class FromScores:
    """Ranks rows by a file of scores.

    Attributes:
        content: made from the file's bytes.
        file: a JSON list or a .npy array with one number per row of the pool, in its order; null or NaN leaves a row
            for last. With ``key``, a JSON list or JSONL of objects, one per row.
        keep: the ``high``, ``low`` or ``medium`` end of the ranking.
        key: the way to the number in such an object, names joined by dots (`selectmm.methods.statistic`).
        device_seconds: what making the file took, seconds × devices; charged to the selection.
    """

    file: str
    keep: Keep = "high"
    key: str | None = None
    device_seconds: float = 0.0
    content: str = field(init=False)

    def __post_init__(self) -> None:
        if not 0 <= self.device_seconds < inf:
            raise UserError(f"method.device_seconds={self.device_seconds}: give seconds times devices, 0 or more.")
        object.__setattr__(self, "content", _digest(self.file))

    def needs(self) -> Needs:
        """Nothing but the file."""
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        """The chosen end of the file's ranking."""
        path = Path(self.file)
        charge(self.device_seconds)
        scores = _scores(path, self.key)
        if scores.shape != (len(pool),):
            raise UserError(
                f"{path} holds {' × '.join(map(str, scores.shape)) or 'one'} scores, the pool has {len(pool)} rows: "
                f"give one per row, in its order."
            )
        if len(infinite := np.flatnonzero(np.isinf(scores))):
            raise UserError(
                f"{path} gives row {infinite[0]} an infinite score; give a number, or null to leave it for last."
            )
        missing = int(np.isnan(scores).sum())
        if missing == len(scores):
            raise UserError(f"{path} holds no score at all: every row has null or NaN; give numbers.")
        return Subset(
            ranked_rows(pool, scores, budget, self.keep), scores, {"no score in the file": missing} if missing else {}
        )


def _digest(file: str) -> str:
    """What the file holds now, so that a changed file is another method to every cache."""
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError as problem:
        raise UserError(f"The file {file} cannot be read ({problem.strerror}); set method.file.") from problem


def _content(path: Path) -> object:
    """A JSON file's content, a list of what each line says, or an array; never a pickle."""
    try:
        if path.suffix.lower() in LINES:
            return _lines(path)
        if path.suffix == ".txt":
            return _numbers(path)
        return load_numbers(path) if path.suffix == ".npy" else json.loads(path.read_bytes())
    except (ValueError, RecursionError, Mismatch) as problem:
        raise UserError(f"{path} holds neither JSON nor a plain .npy array of numbers ({problem}).") from problem
    except OSError as problem:
        raise UserError(f"The file {path} cannot be read ({problem.strerror}); set method.file.") from problem


def _lines(path: Path) -> list[object]:
    rows = list(json_rows(path))
    if broken := next(((number, row) for number, row in rows if isinstance(row, BadRow)), None):
        raise UserError(f"Line {broken[0]} of {path} {broken[1]}.")
    return [row for _, row in rows]


def _numbers(path: Path) -> object:
    """Whole numbers, one on each line; or a list on one line, as in JSON."""
    text = path.read_text(encoding="utf-8").strip()
    return json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.split()]


def _positions(content: object) -> np.ndarray | None:
    """Whole numbers as [n], None if the content is anything else; true and false, 1.0 and "1" are none."""
    if isinstance(content, list):
        if not all(type(one) is int and abs(one) < 2**63 for one in content):
            return None
        content = np.array(content, np.int64)
    plain = isinstance(content, np.ndarray) and content.ndim == 1 and content.dtype.kind in "iu"
    return content if plain else None


def _scores(path: Path, key: str | None) -> np.ndarray:
    """Numbers as float64, NaN for null; of JSON one dimension alone, of an array any.

    Raises:
        UserError: the file holds anything else, such as numbers as text.
    """
    content = _content(path)
    if key is not None:
        if not isinstance(content, list):
            raise UserError(f"{path} is no list of objects, so method.key={key} names nothing in it.")
        content = numbers_at(content, key, str(path))
    if isinstance(content, np.ndarray):
        return content.astype(np.float64)
    numbers = content if isinstance(content, list) else [content]
    for row, one in enumerate(numbers):
        if one is not None and type(one) not in (int, float):
            hint = "; name the number by method.key" if isinstance(one, dict) else ""
            raise UserError(f"{path} is no list of numbers (row {row} has {one!a:.40}){hint}.")
    try:
        return np.array(content, np.float64)
    except OverflowError as problem:
        raise UserError(f"{path} is no list of numbers ({problem}).") from problem
