"""Which questions are the same as a row's, and which nearly.

A prompt is cut into *pieces*: its lines and sentences, lower case, without punctuation and tags. Pieces that nine in
ten items of a task share are instructions ("Answer with …") or examples, not the question; what is left is the item's
own. The same: all own pieces are pieces of what the user asks in one row. Nearly: a run of 13 words of the item's own
text (of all its words if it has 8 to 12) occurs in a row, question or answer. Runs that occur in more than ten rows are
phrases and do not count. Shorter texts have no runs. 13, 8 and ten are GPT-3's (arXiv 2005.14165, appendix C); that
runs of more than ten *items* are phrases too is ours, because many benchmarks fill templates. Chinese and Japanese do
not part words, so each of their characters counts as a word.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SHARED = 0.9  # of a task's items: what so many share is not the question
FEWEST = 10  # items in which sharing can be seen
LONGEST, SHORTEST = 13, 8  # words in a run
COMMON = 10  # rows, or texts
CHUNK = 200_000  # words of the pool looked at together

_TAG = re.compile(r"<[^<>]{1,20}>")
_CUT = re.compile(r"\n+|(?<=[.?!:])\s+|(?<=[。？！：])\s*")
_SIGN = r"[\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"  # kana and han
_WORD = re.compile(rf"{_SIGN}|(?:(?!{_SIGN})\w)+")


def pieces(prompt: str) -> list[str]:
    """Lines and sentences, each as lower-case words with single spaces."""
    found = (" ".join(_WORD.findall(part.lower())) for part in _CUT.split(_TAG.sub(" ", prompt)))
    return [piece for piece in found if piece]


def own_pieces(prompts: Sequence[str]) -> list[tuple[str, ...]]:
    """Give each prompt of one task the pieces that are its own; all of them where nothing else is left."""
    every = [pieces(prompt) for prompt in prompts]
    counts = Counter(piece for found in every for piece in set(found))
    enough = SHARED * len(every) if len(every) >= FEWEST else len(every) + 1
    shared = {piece for piece, count in counts.items() if count >= enough}
    return [tuple(p for p in found if p not in shared) or tuple(found) for found in every]


@dataclass(frozen=True)
class Row:
    """What a row of the pool asks, and all that is said in it."""

    asked: str
    said: str


def same_questions(texts: Sequence[tuple[str, ...]], rows: Iterable[Row]) -> dict[int, list[int]]:
    """The positions of the rows that ask each text (its own pieces), by the index of the texts that occur."""
    counts = Counter(piece for text in texts for piece in set(text))
    by_rarest: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        if text:
            by_rarest.setdefault(min(text, key=lambda piece: (counts[piece], piece)), []).append(index)
    found: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        asked = set(pieces(row.asked))
        for piece in asked & by_rarest.keys():
            for index in by_rarest[piece]:
                if asked.issuperset(texts[index]):
                    found.setdefault(index, []).append(position)
    return found


def near_questions(texts: Sequence[tuple[str, ...]], rows: Iterable[Row]) -> dict[int, list[int]]:
    """The positions of the rows that share a run of words with each text, by its index; see the module."""
    vocabulary: dict[str, int] = {}
    words = [[vocabulary.setdefault(w, len(vocabulary) + 1) for p in text for w in p.split()] for text in texts]
    runs: dict[int, dict[int, set[int]]] = {}  # by length and hash, the texts that hold it
    for index, own in enumerate(words):
        length = min(LONGEST, len(own))
        if length >= SHORTEST:
            for value in _hashes(np.array(own), length)[1].tolist():
                runs.setdefault(length, {}).setdefault(value, set()).add(index)
    sought = {length: {v for v, of in known.items() if len(of) <= COMMON} for length, known in runs.items()}
    occurs: dict[tuple[int, int], set[int]] = {}
    for numbers, positions in _chunks(rows, vocabulary):
        for length, known in sought.items():
            places, values = _hashes(numbers, length)
            hits = np.isin(values, np.fromiter(known, np.uint64, len(known)))
            for place, value in zip(places[hits].tolist(), values[hits].tolist(), strict=True):
                where = occurs.setdefault((length, value), set())
                if len(where) <= COMMON:
                    where.add(int(positions[place]))
                else:  # a phrase, which is looked for no longer
                    known.discard(value)
    found: dict[int, set[int]] = {}
    for (length, value), where in occurs.items():
        if len(where) <= COMMON:
            for index in runs[length][value]:
                found.setdefault(index, set()).update(where)
    return {index: sorted(where) for index, where in found.items()}


def _hashes(numbers: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Places where a run of ``length`` known words begins (a word's number is 0 if unknown), and 64-bit hashes of them.

    A hash is a fixed random linear form modulo 2^64: two different runs agree by chance once in 10^19.
    """
    if len(numbers) < length:
        return np.empty(0, int), np.empty(0, np.uint64)
    windows = sliding_window_view(numbers, length)
    places = np.flatnonzero((windows > 0).all(axis=1))
    factors = np.random.default_rng(length).integers(0, 2**64, length, np.uint64, endpoint=False) | np.uint64(1)
    return places, (windows[places].astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)


def _chunks(rows: Iterable[Row], vocabulary: Mapping[str, int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows' words as numbers, a zero between rows, with the row that each word is of."""
    numbers: list[int] = []
    positions: list[int] = []
    for position, row in enumerate(rows):
        mine = [vocabulary.get(word, 0) for word in _WORD.findall(_TAG.sub(" ", row.said).lower())] + [0]
        numbers += mine
        positions += [position] * len(mine)
        if len(numbers) > CHUNK:
            yield np.array(numbers), np.array(positions)
            numbers, positions = [], []
    yield np.array(numbers, int), np.array(positions, int)
