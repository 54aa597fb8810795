"""Look for a suite's items in a pool, before anything is trained, and keep what was found.

An item *with* a picture occurs in the pool if one row shows its picture and asks its question. A picture alone, or a
question alone (which templated benchmarks repeat by design), is counted apart. An item *without* a picture occurs if a
row asks its question. Each is the same or nearly the same: see pictures.py and texts.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np

from selectmm.contamination import pictures, texts
from selectmm.contamination.pictures import Pictures, load_pictures, look_at
from selectmm.evaluation.items import Item, items_of
from selectmm.evaluation.results import identity_of
from selectmm.evaluation.suite import Suite
from selectmm.pool.pool import Pool
from selectmm.records.progress import track
from selectmm.records.stage import Stage, run_stage, write_atomically

VERSION = 1  # of what is computed here, in pictures.py and in texts.py
ROWS = 4096  # read at a time
LISTED = 20  # rows named for an item; their number is always told

SAME, NEAR = "same", "near"


@dataclass(frozen=True)
class Found:
    """Of one task's items, how many occur in the pool.

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


@dataclass(frozen=True)
class Contamination:
    """What was found, by the names of the benchmarks that share a task, and the file that lists the items."""

    found: Mapping[str, Found]
    listing: Path
    pool_images: int

    @property
    def total(self) -> Found:
        """Over all tasks."""
        return Found(*(sum(getattr(one, field.name) for one in self.found.values()) for field in fields(Found)))


def check(pool: Pool, suite: Suite, cache: Path) -> tuple[Contamination, list[Stage]]:
    """Look for the suite's items in the pool; pool, suite and finding are each looked at once and then cached.

    Returns:
        What was found, and the three stages that it took.

    Raises:
        UserError: of the suite's data (`items_of`) or the pool's images.
    """
    rows = run_stage(
        cache, "pool-pictures", {"pool": pool.fingerprint, "version": VERSION}, lambda folder: _look(pool, folder)
    )
    asked = run_stage(
        cache, "suite-items", {"suite": identity_of(suite), "version": VERSION}, lambda folder: _ask(suite, folder)
    )
    identity = {"pool": rows.fingerprint, "suite": asked.fingerprint, "version": VERSION}

    def make(folder: Path) -> None:
        _search(pool, load_pictures(rows.folder / "pictures.npz"), asked.folder, folder)

    stage = run_stage(cache, "contamination", identity, make)
    return read(stage.folder, len(pool.images)), [rows, asked, stage]


def read(folder: Path, pool_images: int) -> Contamination:
    """What a finished check found."""
    entries = json.loads((folder / "found.json").read_text())
    found = {name: Found(**entry) for name, entry in entries.items()}
    return Contamination(found, folder / "items.json", pool_images)


def _look(pool: Pool, folder: Path) -> None:
    """The pool's unique images, each decoded once."""
    with ThreadPoolExecutor(16) as threads:
        seen = threads.map(lambda image: look_at([pool.open_image(image)]), pool.images)
        kept = list(track(seen, "pictures of the pool", len(pool.images)))
    pictures.join(kept).save(folder / "pictures.npz")


def _ask(suite: Suite, folder: Path) -> None:
    """The suite's items by task: prompts, and which pictures are whose."""
    entries: dict[str, list[dict[str, object]]] = {}
    kept: list[Pictures] = []
    count = 0
    for benchmarks, items in items_of(suite):
        entries[benchmarks] = []
        for item in track(items, f"items of {benchmarks}", len(items)):
            seen = look_at(item.images())
            kept.append(seen)
            entries[benchmarks].append({**_told(item), "pictures": list(range(count, count + len(seen)))})
            count += len(seen)
    pictures.join(kept).save(folder / "pictures.npz")
    write_atomically(folder / "items.json", json.dumps(entries, ensure_ascii=False))


def _told(item: Item) -> dict[str, object]:
    return {"task": item.task, "name": item.name, "prompt": item.prompt}


def _search(pool: Pool, images: Pictures, asked: Path, folder: Path) -> None:
    entries = json.loads((asked / "items.json").read_text())
    matches = _matches(pool, images, entries, load_pictures(asked / "pictures.npz"))
    counted = {name: asdict(count([match for match in matches if match.benchmark == name])) for name in entries}
    listed = [asdict(match) for match in matches if match.picture or match.question]
    write_atomically(folder / "items.json", json.dumps(listed, indent=1, ensure_ascii=False))
    write_atomically(folder / "found.json", json.dumps(counted, indent=1))


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


def _matches(
    pool: Pool, images: Pictures, entries: Mapping[str, Sequence[Mapping[str, object]]], shown: Pictures
) -> list[Match]:
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


def _match(
    benchmarks: str, item: Mapping[str, object], same: tuple[set[int], set[int]], near: tuple[set[int], set[int]]
) -> Match:
    """``same`` and ``near`` hold the rows with the item's picture and those with its question."""
    shown = bool(item["pictures"])
    kinds = [SAME if some else NEAR if others else "" for some, others in zip(same, near, strict=True)]
    wholes = [rows[0] & rows[1] if shown else rows[1] for rows in (same, near)]
    whole = SAME if wholes[0] else NEAR if wholes[1] else ""
    told = sorted(wholes[0] or wholes[1] or same[0] or near[0] or same[1] or near[1])
    name, prompt = str(item["name"]), str(item["prompt"])
    return Match(benchmarks, name, prompt, shown, whole, *kinds, tuple(told[:LISTED]), len(told))


def _rows(pool: Pool) -> Iterator[texts.Row]:
    """What each row says, a few thousand in memory at a time."""
    for batch in pool.table.select(["turns"]).to_batches(max_chunksize=ROWS):
        yield from (_row(turns) for turns in batch.column(0).to_pylist())


def _row(turns: Sequence[Mapping[str, str]]) -> texts.Row:
    asked = "\n".join(turn["text"] for turn in turns if turn["role"] == "user")
    return texts.Row(asked, "\n".join(turn["text"] for turn in turns))


def _owners(pool: Pool) -> list[np.ndarray]:
    """For each unique image the rows that show it."""
    order = np.argsort(pool.image_of, kind="stable")
    edges = np.searchsorted(pool.image_of[order], np.arange(len(pool.images) + 1))
    return [order[start:end] for start, end in pairwise(edges)]


def _rows_of(found: Sequence[Sequence[int]], item: Mapping[str, object], owners: Sequence[np.ndarray]) -> set[int]:
    return {int(row) for picture in item["pictures"] for image in found[picture] for row in owners[image]}


def _own_texts(entries: Mapping[str, Sequence[Mapping[str, object]]]) -> dict[str, tuple[str, ...]]:
    """By item name its own pieces, task by task."""
    tasks: dict[str, list[Mapping[str, object]]] = {}
    for items in entries.values():
        for item in items:
            tasks.setdefault(str(item["task"]), []).append(item)
    return {
        str(item["name"]): own
        for items in tasks.values()
        for item, own in zip(items, texts.own_pieces([str(item["prompt"]) for item in items]), strict=True)
    }
