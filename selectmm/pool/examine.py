"""Look at a pool before anything long starts: is every image there, does it open, has every question an answer?"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from selectmm.errors import UserError
from selectmm.pool.health import Health
from selectmm.pool.pool import Pool, inside, open_image
from selectmm.records.progress import track
from selectmm.records.stage import fingerprint, run_stage, write_atomically

MISSING = -1  # the size of an image that is not there


def healthy(pool: Pool, bad_rows: Literal["stop", "drop"], cache: Path) -> Pool:
    """The pool without bad rows, its fingerprint extended by the state of its images.

    Every unique image is decoded once per state of the image folder (paths and sizes); the finding is cached.

    Raises:
        UserError: there are bad rows and ``bad_rows`` is ``stop``, or every row is bad.
    """
    if bad_rows not in ("stop", "drop"):
        raise UserError(f"There is no pool.bad_rows={bad_rows}; there are: stop, drop.")
    sizes = _sizes(pool)
    state = {"pool": pool.fingerprint, "images": fingerprint({"sizes": sizes.tolist()}), "version": 1}
    stage = run_stage(cache, "pool-health", state, lambda folder: _examine(pool, sizes, folder))
    health = Health(**json.loads((stage.folder / "health.json").read_text()))
    if not health.bad:
        return Pool(pool.table, pool.image_root, stage.fingerprint, health)
    found = f"{_told(pool, health)}. The full list is in {stage.folder / 'health.json'}."
    if bad_rows == "stop":
        raise UserError(f"The pool has {found} Mend them, or set pool.bad_rows=drop to leave these rows out.")
    kept = np.setdiff1d(np.arange(len(pool)), health.bad)
    if len(kept) == 0:
        raise UserError(f"No row of the pool can be used: {found}")
    table = pool.table.take(pa.array(kept))
    return Pool(table, pool.image_root, fingerprint({**state, "dropped": health.bad}), health)


def _told(pool: Pool, health: Health) -> str:
    """The bad rows in words, one example for each reason."""
    reasons = [
        (health.missing_image, "with a missing image"),
        (health.broken_image, "with a broken image"),
        (health.empty_answer, "with an empty answer"),
    ]
    return ", ".join(
        f"{len(rows):,} rows {reason} (first: row {rows[0]}{', ' + image if (image := pool[rows[0]].image) else ''})"
        for rows, reason in reasons
        if rows
    )


def _sizes(pool: Pool) -> np.ndarray:
    """Bytes of each unique image, `MISSING` where there is no file; [images] of int64."""

    def size(relative: str) -> int:
        path = inside(pool.image_root, relative)
        return path.stat().st_size if path.is_file() else MISSING

    with ThreadPoolExecutor(16) as threads:
        return np.fromiter(threads.map(size, pool.images, chunksize=256), np.int64, len(pool.images))


def _examine(pool: Pool, sizes: np.ndarray, folder: Path) -> None:
    broken = np.zeros(len(sizes) + 1, bool)  # the last entry answers for −1, no image
    missing = np.append(sizes == MISSING, False)
    with ThreadPoolExecutor(16) as threads:
        present = np.flatnonzero(sizes != MISSING)
        opened = threads.map(lambda image: _opens(pool, image), present.tolist())
        broken[present] = [not good for good in track(opened, "looking at the images", len(present))]
    health = Health(
        rows=len(pool),
        text_only=int((pool.image_of < 0).sum()),
        unique_images=len(sizes),
        per_source=dict(Counter(pool.sources.tolist()).most_common()),
        missing_image=np.flatnonzero(missing[pool.image_of]).tolist(),
        broken_image=np.flatnonzero(broken[pool.image_of]).tolist(),
        empty_answer=[i for i, turns in enumerate(pool.table["turns"].to_pylist()) if _has_empty_answer(turns)],
    )
    write_atomically(folder / "health.json", json.dumps(asdict(health)))


def _opens(pool: Pool, image: int) -> bool:
    try:
        open_image(pool.image_root, pool.images[image]).close()
    except UserError:
        return False
    return True


def _has_empty_answer(turns: list[dict[str, str]]) -> bool:
    return any(turn["role"] == "assistant" and not turn["text"].strip() for turn in turns)
