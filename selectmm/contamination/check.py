"""Look for a suite's items in a pool, before anything is trained, and keep what was found."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from selectmm.cache.progress import track
from selectmm.cache.side_by_side import side_by_side
from selectmm.cache.stage import Stage, fingerprint, run_stage, write_atomically
from selectmm.contamination.search import Found, count, matches_of
from selectmm.evaluation.items import Item, items_of
from selectmm.evaluation.results import identity_of
from selectmm.evaluation.suite import Suite
from selectmm.pool import pictures
from selectmm.pool.image import large_alone
from selectmm.pool.pictures import Pictures, load_pictures, look_at
from selectmm.pool.pool import Pool

STAGE = "contamination"
VERSION = 1  # of what is kept of the pool's pictures and the suite's items
SEARCH = 2  # of what search.py, pictures.py and texts.py find in them


@dataclass(frozen=True)
class Contamination:
    """What was found, by the names of the benchmarks that share a task, and the file that lists the items."""

    found: Mapping[str, Found]
    listing: Path
    pool_images: int

    @property
    def total(self) -> Found:
        """The counts over all tasks."""
        return Found(*(sum(getattr(one, field.name) for one in self.found.values()) for field in fields(Found)))


def check(pool: Pool, suite: Suite, cache: Path) -> tuple[Contamination, list[Stage]]:
    """Look for the suite's items in the pool; pool, suite and finding are each looked at once and then cached.

    Returns:
        What was found, and the three stages that it took.

    Raises:
        UserError: of the suite's data (`items_of`) or the pool's images.
    """
    of_pool, of_suite, of_both = identities_of(pool, suite)
    rows = run_stage(cache, "pool-pictures", of_pool, lambda folder: _look(pool, folder))
    asked = run_stage(cache, "suite-items", of_suite, lambda folder: _ask(suite, folder))

    def make(folder: Path) -> None:
        _search(pool, load_pictures(rows.folder / "pictures.npz"), asked.folder, folder)

    stage = run_stage(cache, STAGE, of_both, make)
    return read(stage.folder, len(pool.images)), [rows, asked, stage]


def identities_of(pool: Pool, suite: Suite) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The identities of three stages: the pool's pictures, the suite's items, and what was found."""
    of_pool = {"pool": pool.fingerprint, "version": VERSION}
    of_suite = {"suite": identity_of(suite), "version": VERSION}
    both = {"pool": fingerprint(of_pool), "suite": fingerprint(of_suite), "version": SEARCH}
    return of_pool, of_suite, both


def read(folder: Path, pool_images: int) -> Contamination:
    """What a finished check found."""
    entries = json.loads((folder / "found.json").read_text())
    found = {name: Found(**entry) for name, entry in entries.items()}
    return Contamination(found, folder / "items.json", pool_images)


def _look(pool: Pool, folder: Path) -> None:
    """The pool's unique images, as they were seen when the pool was opened; else each is decoded once."""
    if pool.pictures is not None:
        pool.pictures.read().save(folder / "pictures.npz")
        return
    hold = large_alone(pool.sizes)

    def look(image: int) -> Pictures:
        with hold(image):
            return look_at([pool.open_image(pool.images[image])])

    seen = side_by_side(look, range(len(pool.images)), threads=16)
    kept = list(track(seen, "pictures of the pool", len(pool.images)))
    pictures.join(kept).save(folder / "pictures.npz")


def _ask(suite: Suite, folder: Path) -> None:
    """The suite's items by task: prompts, and which pictures are whose."""
    entries: dict[str, list[dict[str, Any]]] = {}
    kept: list[Pictures] = []
    count = 0
    for benchmarks, items in items_of(suite):
        entries[benchmarks] = []
        for item in track(items, f"items of {benchmarks}", len(items)):
            seen = look_at(item.images())
            kept.append(seen)
            entries[benchmarks].append({**_described(item), "pictures": list(range(count, count + len(seen)))})
            count += len(seen)
    pictures.join(kept).save(folder / "pictures.npz")
    write_atomically(folder / "items.json", json.dumps(entries, ensure_ascii=False))


def _described(item: Item) -> dict[str, Any]:
    return {"task": item.task, "name": item.name, "prompt": item.prompt}


def _search(pool: Pool, images: Pictures, asked: Path, folder: Path) -> None:
    entries = json.loads((asked / "items.json").read_text())
    matches = matches_of(pool, images, entries, load_pictures(asked / "pictures.npz"))
    counted = {name: asdict(count([match for match in matches if match.benchmark == name])) for name in entries}
    listed = [asdict(match) for match in matches if match.picture or match.question]
    write_atomically(folder / "items.json", json.dumps(listed, indent=1, ensure_ascii=False))
    write_atomically(folder / "found.json", json.dumps(counted, indent=1))
