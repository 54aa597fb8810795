"""Look at a pool before anything long starts: is every image there, does it open, has every question an answer?"""

import json
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.pool.bad import excerpt
from selectmm.pool.health import Health
from selectmm.pool.image import EIGHT_BIT, Header, header_of, large_alone, size_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import UNREAD, Noted
from selectmm.records.progress import track
from selectmm.records.side_by_side import side_by_side
from selectmm.records.stage import fingerprint, run_stage, write_atomically

MISSING = -1  # the size of an image that is not there
AT_ONCE = 16  # images looked at side by side; decoding leaves Python's lock, and a network disk answers slowly
BLOCK = 64  # of images whose size or header is read at a time, which takes less than to hand over one
_NO_HEADER = Header(0, 0, "")
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
    seen = run_stage(cache, "pool-headers", state, lambda folder: _headers(pool, sizes, folder))
    headers = np.load(seen.folder / "headers.npz")
    if set(headers["modes"].tolist()) - EIGHT_BIT - {_NO_HEADER.mode}:  # such images once were cut off at 255
        state |= {"wide": "scaled"}
    sides = headers["sides"]
    stage = run_stage(cache, "pool-look", state, lambda folder: _examine(pool, sizes, sides, noted, folder))
    health = _with_rows(Health(**json.loads((stage.folder / "health.json").read_text())), noted)
    looked = Pool(pool.table, pool.image_root, stage.fingerprint, health, sides, None, cache / "clip-frames")
    if not health.bad or bad_rows == "keep":
        return looked
    found = f"{_told(looked, health)}.{_why(pool, health.broken_image)} "
    found += _LISTED.format(_listed(looked, health, stage.folder))
    if bad_rows == "stop":
        raise UserError(f"The pool has {found} {_MEND}")
    if len(health.bad) == len(pool):
        raise UserError(f"No row of the pool can be used: {found}")
    return looked.without(health.bad, fingerprint({**state, "dropped": health.bad}))


_LISTED = "The full list is in {}."
_MEND = "Fix them, or set pool.bad_rows=drop to leave these rows out."


def _told_unread(noted: Noted) -> str:
    """The rows that cannot be read in words, the first of each reason with its sentence; and the empty answers."""
    told = [
        f"{counted(count, 'row')} with {reason} (first: {noted.examples[reason][0]})"
        for reason, count in noted.bad.items()
    ]
    if noted.empty_answer:
        told.append(f"{counted(len(noted.empty_answer), 'row')} with an empty answer")
    return ", ".join(told)


def _told(pool: Pool, health: Health) -> str:
    """The bad rows in words, one example for each reason."""
    return ", ".join(
        f"{counted(len(rows), 'row')} with {reason} (first: {_first(pool, rows[0])})"
        for reason, rows in _looked(health).items()
        if rows
    )


def _first(pool: Pool, row: int) -> str:
    """A bad row in words, with the image that is missing or broken, if it is one of several."""
    return f"{pool.named(row)}, {excerpt(_bad_image(pool, row))}" if len(pool[row].images) > 1 else pool.told(row)


def _bad_image(pool: Pool, row: int) -> str | None:
    """The first image of a bad row that cannot be opened, or its first one; None for a text-only row."""
    images = [one.path for one in pool[row].images]
    for image in images if len(images) > 1 else ():
        try:
            pool.open_image(image).close()
        except UserError:
            return image
    return images[0] if images else None


def _why(pool: Pool, broken: list[int]) -> str:
    """What is wrong with the first broken image, as a sentence to follow the others."""
    try:
        for row in broken[:1]:
            for image in pool[row].images:
                pool.open_image(image.path)
    except UserError as problem:
        return f" The first broken image: {excerpt(problem.__cause__ or problem)}."
    return ""


def _looked(health: Health) -> dict[str, list[int]]:
    return {
        "a missing image": health.missing_image,
        "a broken image": health.broken_image,
        "an empty answer": health.empty_answer,
    }


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
            {**pool.place_of(row), "image": _bad_image(pool, row), "reason": reason}
            for reason, rows in _looked(health).items()
            for row in rows
        ]
        write_atomically(path, "".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def _sizes(pool: Pool) -> np.ndarray:
    """Bytes of each unique image, `MISSING` where there is no file; [images] of int64."""

    def sizes(start: int) -> list[int]:
        """Those of one block of images."""
        found = (size_of(pool.image_root, image) for image in pool.images[start : start + BLOCK])
        return [MISSING if size is None else size for size in found]

    blocks = side_by_side(sizes, range(0, len(pool.images), BLOCK), AT_ONCE)
    return np.fromiter(chain.from_iterable(blocks), np.int64, len(pool.images))


def _headers(pool: Pool, sizes: np.ndarray, folder: Path) -> None:
    """What the header of each unique image says; 0 × 0 pixels of no mode where it cannot be read."""

    def headers(start: int) -> list[Header]:
        """Those of one block of images."""
        return [_header(pool, image, sizes[image]) for image in range(start, min(start + BLOCK, len(sizes)))]

    blocks = side_by_side(headers, range(0, len(sizes), BLOCK), AT_ONCE)
    found = list(track(chain.from_iterable(blocks), "headers of the images", len(sizes)))
    sides = np.array([(header.width, header.height) for header in found], np.int32).reshape(-1, 2)
    np.savez(folder / "headers.npz", sides=sides, modes=np.array([header.mode for header in found], str))


def _header(pool: Pool, image: int, size: int) -> Header:
    try:
        if size == MISSING:
            return _NO_HEADER
        if pool.clips[image]:
            clip = pool.open_clip(pool.images[image])
            return Header(clip.width, clip.height, "RGB")
        return header_of(pool.image_root, pool.images[image])
    except UserError:
        return _NO_HEADER


def _examine(pool: Pool, sizes: np.ndarray, sides: np.ndarray, noted: Noted, folder: Path) -> None:
    """Decode every image that is there, and write what was found."""
    hold = large_alone(sides)

    def state(image: int) -> State:
        with hold(image):
            return state_of(pool, image)

    present = np.flatnonzero(sizes != MISSING)
    states = np.full(len(sizes), "unreadable", object)
    seen = side_by_side(state, present.tolist(), AT_ONCE)
    states[present] = list(track(seen, "looking at the images", len(present)))

    def rows_of(images: np.ndarray) -> list[int]:
        return pool.showing(images).tolist()

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
    """Of one of `Pool.images` that is there: ``truncated`` if its header opens and its pixels do not.

    An image whose pixels have no known range (`selectmm.pool.image.rgb`) is ``unreadable``.
    """
    path = pool.images[image]
    try:
        pool.open_image(path).close()
        return "good"
    except UserError:
        if pool.clips[image]:
            return "unreadable"
    try:
        return "truncated" if header_of(pool.image_root, path).mode in EIGHT_BIT else "unreadable"
    except UserError:
        return "unreadable"
