"""Look at a pool before anything long starts: is every image there, does it open, has every question an answer?"""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.health import Health
from selectmm.pool.pool import Pool, inside, open_image
from selectmm.pool.reading import UNREAD, Noted
from selectmm.records.progress import track
from selectmm.records.stage import fingerprint, run_stage, write_atomically

MISSING = -1  # the size of an image that is not there
AT_ONCE = 16  # images looked at side by side; decoding leaves Python's lock, and a network disk answers slowly
State = Literal["good", "truncated", "unreadable"]


def healthy(pool: Pool, noted: Noted, bad_rows: Literal["stop", "drop", "keep"], cache: Path, rows: Path) -> Pool:
    """The pool without bad rows, its fingerprint extended by the state of its images.

    Every unique image is decoded once per state of the image folder (paths and sizes); the finding is cached.

    Args:
        noted: what was seen while the rows were read.
        bad_rows: ``stop`` or ``drop``; ``keep`` leaves them in, told in ``Pool.health``, for who looks at them (those
            that cannot be read are told alone).
        rows: folder that `selectmm.pool.reading.read_rows` gave.

    Raises:
        UserError: there are bad rows and ``bad_rows`` is ``stop``, or every row is bad.
    """
    if bad_rows not in ("stop", "drop", "keep"):
        raise UserError(f"There is no pool.bad_rows={bad_rows}; there are: stop, drop.")
    if noted.bad and bad_rows == "stop":  # before hours of looking at images
        raise UserError(f"The pool has {_told_unread(noted)}. {_LISTED.format(rows / UNREAD)} {_MEND}")
    if len(pool) == 0 and bad_rows == "drop":
        raise UserError(
            f"No row of the pool can be used: it has {_told_unread(noted)}. {_LISTED.format(rows / UNREAD)}"
        )
    sizes = _sizes(pool)
    state = {"pool": pool.fingerprint, "images": fingerprint({"sizes": sizes.tolist()}), "version": 1}
    stage = run_stage(cache, "pool-look", state, lambda folder: _examine(pool, sizes, noted, folder))
    health = _with_rows(Health(**json.loads((stage.folder / "health.json").read_text())), noted)
    whole = Pool(pool.table, pool.image_root, stage.fingerprint, health)
    if not health.bad or bad_rows == "keep":
        return whole
    found = f"{_told(whole, health)}. {_LISTED.format(_listed(whole, health, stage.folder))}"
    if bad_rows == "stop":
        raise UserError(f"The pool has {found} {_MEND}")
    kept = np.setdiff1d(np.arange(len(pool)), health.bad)
    if len(kept) == 0:
        raise UserError(f"No row of the pool can be used: {found}")
    table = pool.table.take(pa.array(kept))
    return Pool(table, pool.image_root, fingerprint({**state, "dropped": health.bad}), health)


_LISTED = "The full list is in {}."
_MEND = "Mend them, or set pool.bad_rows=drop to leave these rows out."


def _told_unread(noted: Noted) -> str:
    """The rows that cannot be read in words, the first of each reason with its sentence; and the empty answers."""
    told = [f"{count:,} rows with {reason} (first: {noted.examples[reason][0]})" for reason, count in noted.bad.items()]
    if noted.empty_answer:
        told.append(f"{len(noted.empty_answer):,} rows with an empty answer")
    return ", ".join(told)


def _told(pool: Pool, health: Health) -> str:
    """The bad rows in words, one example for each reason."""
    return ", ".join(
        f"{len(rows):,} rows with {reason} (first: {pool.named(rows[0])}{_image(pool, rows[0])})"
        for reason, rows in _looked(health).items()
        if rows
    )


def _looked(health: Health) -> dict[str, list[int]]:
    return {
        "a missing image": health.missing_image,
        "a broken image": health.broken_image,
        "an empty answer": health.empty_answer,
    }


def _image(pool: Pool, row: int) -> str:
    image = pool.table["image"][row].as_py()
    return "" if image is None else f", {image[:200]}"


def _with_rows(health: Health, noted: Noted) -> Health:
    """With what is known since the rows were read; what was looked at may be older."""
    return replace(
        health,
        untrained=noted.untrained,
        unread=noted.bad,
        examples=noted.examples,
        fields=noted.unread,
    )


def _listed(pool: Pool, health: Health, folder: Path) -> Path:
    """A file with a line for each bad row that can be read: its place in the pool's file, its id, its image, why."""
    path = folder / "bad_rows.jsonl"
    if not path.exists():
        entries = [
            {**pool.place_of(row), "image": pool.table["image"][row].as_py(), "reason": reason}
            for reason, rows in _looked(health).items()
            for row in rows
        ]
        write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def _sizes(pool: Pool) -> np.ndarray:
    """Bytes of each unique image, `MISSING` where there is no file; [images] of int64."""

    def size(relative: str) -> int:
        path = inside(pool.image_root, relative)
        return path.stat().st_size if path.is_file() else MISSING

    with ThreadPoolExecutor(16) as threads:
        return np.fromiter(threads.map(size, pool.images, chunksize=256), np.int64, len(pool.images))


def _examine(pool: Pool, sizes: np.ndarray, noted: Noted, folder: Path) -> None:
    present = np.flatnonzero(sizes != MISSING)
    states = np.full(len(sizes), "unreadable", object)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        seen = threads.map(lambda image: state_of(pool, image), present.tolist())
        states[present] = list(track(seen, "looking at the images", len(present)))

    def rows_of(images: np.ndarray) -> list[int]:
        return np.flatnonzero(np.append(images, False)[pool.image_of]).tolist()  # −1, no image, meets the appended one

    health = Health(
        rows=len(pool),
        text_only=int((pool.image_of < 0).sum()),
        unique_images=len(sizes),
        per_source=pool.counts(),
        missing_image=rows_of(sizes == MISSING),
        broken_image=rows_of((sizes != MISSING) & (states != "good")),
        truncated_image=rows_of(states == "truncated"),
        empty_answer=noted.empty_answer,
        unplaced=noted.unplaced,
        spoken=noted.spoken,
        system=noted.system,
        left_out=noted.left_out,
        trimmed=noted.trimmed,
    )
    write_atomically(folder / "health.json", json.dumps(asdict(health)))


def state_of(pool: Pool, image: int) -> State:
    """Of one of `Pool.images` that is there: ``truncated`` if its header opens and its pixels do not."""
    path = pool.images[image]
    try:
        open_image(pool.image_root, path).close()
        return "good"
    except UserError:
        pass
    try:
        Image.open(inside(pool.image_root, path)).close()
        return "truncated"
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return "unreadable"
