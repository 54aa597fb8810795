"""Look at a pool before anything long starts: is every image there, does it open, has every question an answer?"""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import numpy as np

from selectmm.cache.stage import fingerprint, run_stage, write_atomically
from selectmm.counted import counted
from selectmm.errors import UserError
from selectmm.pool.bad_image import bad_image, named_with_image
from selectmm.pool.health import Health
from selectmm.pool.image import EIGHT_BIT
from selectmm.pool.looking import MISSING, NO_HEADER, TURNED, Looks, look_at_all, pictures_wanted, sizes_of
from selectmm.pool.pool import Pool
from selectmm.pool.reading import UNREAD, Noted


def healthy(pool: Pool, noted: Noted, bad_rows: Literal["stop", "drop", "keep"], cache: Path, rows: Path) -> Pool:
    """The pool without bad rows, its fingerprint extended by the state of its images.

    Every unique image is decoded once per state of the image folder (paths and sizes); the finding is cached.

    Args:
        noted: what was seen while the rows were read.
        bad_rows: ``stop`` or ``drop``; ``keep`` leaves them in, listed in ``Pool.health``, for who looks at them (those
            that cannot be read are only counted).
        rows: folder that `selectmm.pool.reading.read_rows` gave.

    Raises:
        UserError: there are bad rows and ``bad_rows`` is ``stop``, or every row is bad.
    """
    if bad_rows not in ("stop", "drop", "keep"):
        raise UserError(f"pool.bad_rows={bad_rows} is not valid; choose stop or drop.")
    if noted.bad and bad_rows == "stop":  # before hours of looking at images
        raise UserError(f"The pool has {_count_unread(noted)}. {_LISTED.format(rows / UNREAD)} {_MEND}")
    if len(pool) == 0 and bad_rows == "drop":
        raise UserError(
            f"No row of the pool can be used: it has {_count_unread(noted)}. {_LISTED.format(rows / UNREAD)}"
        )
    sizes = sizes_of(pool, cache)
    state = {"pool": pool.fingerprint, "images": fingerprint({"sizes": sizes.tolist()}), "version": 1}
    wanted = pictures_wanted()
    asked = state | ({"turned": "noted"} if pool.clips.any() else {})  # it once was not
    seen = run_stage(cache, "pool-headers", asked, lambda folder: look_at_all(pool, sizes, folder, wanted)).folder
    looks = Looks.read(seen)
    modes = set(looks.modes.tolist())
    if modes - EIGHT_BIT - {NO_HEADER.mode, TURNED}:  # such images once were cut off at 255
        state |= {"wide": "scaled"}
    if TURNED in modes:  # such clips once were shown as they are stored
        state |= {"turned": "upright"}
    stage = run_stage(cache, "pool-look", state, lambda folder: _write_findings(pool, sizes, looks, noted, folder))
    health = _with_rows(Health(**json.loads((stage.folder / "health.json").read_text())), noted)
    pictures = None if bad_rows == "keep" else looks.pictures  # there are none of bad images
    looked = pool.looked_at(stage.fingerprint, health, looks.sides, cache / "clip-frames", pictures)
    if not health.bad or bad_rows == "keep":
        return looked
    found = f"{_count_unusable(looked, health)}.{_why(pool, health.broken_image)} "
    found += _LISTED.format(_listed(looked, health, stage.folder))
    if bad_rows == "stop":
        raise UserError(f"The pool has {found} {_MEND}")
    if len(health.bad) == len(pool):
        raise UserError(f"No row of the pool can be used: {found}")
    return looked.without(health.bad, fingerprint({**state, "dropped": health.bad}))


_LISTED = "The full list is in {}."
_MEND = "Fix them, or set pool.bad_rows=drop to leave these rows out."


def _count_unread(noted: Noted) -> str:
    """The rows that cannot be read in words, the first of each reason with its sentence; and the empty answers."""
    counts = [
        f"{counted(count, 'row')} with {reason} (first: {noted.examples[reason][0]})"
        for reason, count in noted.bad.items()
    ]
    if noted.empty_answer:
        counts.append(f"{counted(len(noted.empty_answer), 'row')} with an empty answer")
    return ", ".join(counts)


def _count_unusable(pool: Pool, health: Health) -> str:
    """The bad rows in words, one example for each reason."""
    return ", ".join(
        f"{counted(len(rows), 'row')} with {reason} (first: {named_with_image(pool, rows[0])})"
        for reason, rows in _looked(health).items()
        if rows
    )


def _why(pool: Pool, broken: list[int]) -> str:
    """What is wrong with the first broken image, as a sentence to follow the others."""
    found = bad_image(pool, broken[0]) if broken else None
    return f" The first broken image: {found.why}." if found else ""


def _looked(health: Health) -> dict[str, list[int]]:
    return {
        "a missing image": health.missing_image,
        "a broken image": health.broken_image,
        "an empty answer": health.empty_answer,
    }


def _with_rows(health: Health, noted: Noted) -> Health:
    """With what is known since the rows were read.

    What was looked at may be older, and of another file that makes the same pool.
    """
    return replace(
        health,
        untrained=noted.untrained,
        unread=noted.bad,
        examples=noted.examples,
        fields=noted.unread,
        blank=noted.blank,
        unplaced=noted.unplaced,
        spoken=noted.spoken,
        unfilmed=noted.unfilmed,
        system=noted.system,
        left_out=noted.left_out,
        trimmed=noted.trimmed,
    )


def _listed(pool: Pool, health: Health, folder: Path) -> Path:
    """A file with a line for each bad row that can be read: its place in the pool's file, its id, its image, why."""
    path = folder / "bad_rows.jsonl"
    entries = [
        {**pool.place_of(row), "image": _image(pool, row), "reason": reason}
        for reason, rows in _looked(health).items()
        for row in rows
    ]
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    if not path.exists() or path.read_text() != text:  # another file may make the same pool, at other places
        write_atomically(path, text)
    return path


def _image(pool: Pool, row: int) -> str | None:
    """The image of a bad row that cannot be opened, if it is one of several, or its first one; None without any."""
    found = bad_image(pool, row) if len(pool[row].images) > 1 else None
    return found.path if found else pool[row].image


def _write_findings(pool: Pool, sizes: np.ndarray, looks: Looks, noted: Noted, folder: Path) -> None:
    """Write what was found in all images and rows."""
    states = looks.states
    if states is None:  # a cache of earlier versions, which had only read the headers yet
        look_at_all(pool, sizes, folder, pictures=False)
        states = Looks.read(folder).states

    def rows_of(images: np.ndarray) -> list[int]:
        return pool.showing(images).tolist()

    ends, _ = pool.shown
    health = Health(
        rows=len(pool),
        text_only=int((ends[1:] == ends[:-1]).sum()),  # `Pool.image_of` would be 8 bytes a row
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
