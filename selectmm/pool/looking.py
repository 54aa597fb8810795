"""Look at every image of a pool, once: how many bytes its file has, what its header says, whether it can be decoded."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from io import BytesIO
from itertools import chain
from pathlib import Path
from socket import gethostname
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image

from selectmm.cache.no_links import open_unlinked
from selectmm.cache.progress import track
from selectmm.cache.provenance import SWEEP_NAME
from selectmm.cache.side_by_side import side_by_side
from selectmm.cache.stage import run_stage, write_atomically
from selectmm.errors import UserError
from selectmm.pool.image import EIGHT_BIT, Header, Seen, look, size_of
from selectmm.pool.passing import NotNow
from selectmm.pool.pictures import Kept, Pictures, join, look_at, room_for
from selectmm.pool.pool import Pool
from selectmm.pool.root import spelled

MISSING = -1  # the size of an image that is not there
AT_ONCE = 16  # images looked at side by side; decoding leaves Python's lock, and a network disk answers slowly
BLOCK = 64  # of images whose size is asked for at a time, which takes less than to hand over one
NOTED = 256  # images after which what was seen is written, so that a killed process has not looked in vain
SECONDS = 10.0  # or after so many, where a file system is slow
FILE = "headers.npz"
NO_HEADER = Header(0, 0, "")
TURNED = "RGB, turned"  # the mode of a clip whose frames are stored otherwise than they are shown
State = Literal["good", "truncated", "unreadable"]
_pictures_wanted: ContextVar[bool] = ContextVar("pictures_wanted", default=False)


@contextmanager
def keeping_pictures() -> Iterator[None]:
    """Keep what is seen of the images of pools that are opened inside the block (`Pool.pictures`).

    It takes as long as decoding; who looks for equal pictures later need not decode them again.
    """
    token = _pictures_wanted.set(True)
    try:
        yield
    finally:
        _pictures_wanted.reset(token)


def pictures_wanted() -> bool:
    """Whether this is inside such a block."""
    return _pictures_wanted.get()


def sizes_of(pool: Pool, cache: Path) -> np.ndarray:
    """Bytes of each unique image, `MISSING` where there is no file; [images] of int64.

    The jobs of a sweep ask once on every machine. Anybody else asks each time, to notice what was changed.
    """
    sweep = os.environ.get(SWEEP_NAME)
    read_only = cache.exists() and not os.access(cache, os.W_OK)  # which may hold all that the job needs
    if not sweep or read_only:  # the first may be empty, see configs/hydra/launcher/ray.yaml
        return _sizes(pool)
    identity = {"pool": pool.fingerprint, "images": spelled(pool.image_root), "sweep": sweep, "host": gethostname()}

    def make(folder: Path) -> None:
        sizes = _sizes(pool)
        with open_unlinked(folder / "sizes.npy", "wb") as file:
            np.save(file, sizes)

    return np.load(run_stage(cache, "image-sizes", identity, make).folder / "sizes.npy")


def _sizes(pool: Pool) -> np.ndarray:
    def sizes(start: int) -> list[int]:
        found = (size_of(pool.image_root, image) for image in pool.images[start : start + BLOCK])
        return [MISSING if size is None else size for size in found]

    blocks = side_by_side(sizes, range(0, len(pool.images), BLOCK), AT_ONCE)
    return np.fromiter(chain.from_iterable(blocks), np.int64, len(pool.images))


@dataclass(frozen=True)
class Looks:
    """What was seen of a pool's images.

    Attributes:
        sides: width and height, 0 where a header cannot be read, [images, 2] of int32.
        modes: Pillow's name of the channels, or `TURNED`; empty where a header cannot be read, [images] of str.
        states: `State` of each, ``unreadable`` where there is no file, [images] of str; None if only headers were read.
        pictures: what was kept of them, if that was wanted; nothing of those that are not good.
    """

    sides: np.ndarray
    modes: np.ndarray
    states: np.ndarray | None
    pictures: Kept | None

    @staticmethod
    def read(folder: Path) -> "Looks":
        """What `look_at_all` wrote; versions before 2026-11-29 wrote sides and modes alone."""
        with np.load(folder / FILE, allow_pickle=False) as seen:
            kept = Kept(folder, np.arange(len(seen["modes"]))) if seen.get("kept") else None
            return Looks(seen["sides"], seen["modes"], seen["states"] if "states" in seen else None, kept)


def look_at_all(pool: Pool, sizes: np.ndarray, folder: Path, pictures: bool) -> None:
    """Open and decode every image that is there, once, and write what was seen into ``folder``.

    What a killed process has seen lies there in blocks, and is not looked at again.

    Args:
        sizes: see `sizes_of`. pictures: whether what `selectmm.pool.pictures` keeps is written as well.
    """
    seen = _seen_before(folder, pictures)
    left = np.setdiff1d(np.flatnonzero(sizes != MISSING), seen).tolist()
    alone = Lock()
    looks = side_by_side(lambda image: look_at_image(pool, image, alone, pictures), left, AT_ONCE)
    block: dict[int, Look] = {}
    since = time.monotonic()
    for image, one in zip(left, track(looks, "looking at the images", len(left)), strict=True):
        block[image] = one
        if len(block) == NOTED or time.monotonic() - since > SECONDS or image == left[-1]:
            _write_block(folder, block, pictures)
            block, since = {}, time.monotonic()
    _join(folder, len(sizes), pictures)


def _blocks(folder: Path) -> list[Path]:
    return sorted(folder.glob("looks-*.npz"))


def _seen_before(folder: Path, pictures: bool) -> np.ndarray:
    """Images whose looks lie in the folder, [n] of int64; blocks that lack wanted pictures are deleted."""
    seen = [np.zeros(0, np.int64)]
    for path in _blocks(folder):
        with np.load(path, allow_pickle=False) as block:
            usable = bool(block["pictures"]) or not pictures
            if usable:
                seen.append(block["images"])
        if not usable:
            path.unlink()
    return np.concatenate(seen)


def _write_block(folder: Path, looks: dict[int, "Look"], pictures: bool) -> None:
    """Write what was seen of some images, one after the other, as a file that is there whole or not at all."""
    good = [image for image, one in looks.items() if one.picture is not None]
    kept = join([picture for one in looks.values() if (picture := one.picture) is not None])
    content = BytesIO()
    np.savez(
        content,
        images=np.fromiter(looks, np.int64),
        sides=np.array([one.header[:2] for one in looks.values()], np.int32),
        modes=np.array([one.header.mode for one in looks.values()], str),
        states=np.array([one.state for one in looks.values()], str),
        pictures=np.array(pictures),
        good=np.array(good, np.int64),
        digests=kept.digests,
        hashes=kept.hashes,
        thumbnails=kept.thumbnails,
    )
    write_atomically(folder / f"looks-{next(iter(looks)):09d}.npz", content.getvalue())


def _join(folder: Path, images: int, pictures: bool) -> None:
    """All blocks into one file (and those of `room_for`); none is deleted before these are written."""
    sides = np.zeros((images, 2), np.int32)
    modes, states = np.full(images, NO_HEADER.mode, object), np.full(images, "unreadable", object)
    kept = room_for(images, folder) if pictures and images else None
    for path in _blocks(folder):
        with np.load(path, allow_pickle=False) as block:
            seen, good = block["images"], block["good"]
            sides[seen], modes[seen], states[seen] = block["sides"], block["modes"], block["states"]
            if kept is not None:
                kept.digests[good], kept.hashes[good] = block["digests"], block["hashes"]
                kept.thumbnails[good] = block["thumbnails"]
    with open_unlinked(folder / FILE, "wb") as file:
        np.savez(file, sides=sides, modes=modes.astype(str), states=states.astype(str), kept=np.array(kept is not None))
    for path in _blocks(folder):
        path.unlink()


class Look(NamedTuple):
    """What is seen of an image: ``truncated`` if its header opens and its pixels do not."""

    header: Header
    state: State
    picture: Pictures | None


def look_at_image(pool: Pool, image: int, alone: Lock, pictures: bool) -> Look:
    """Look at one of `Pool.images` that is there; of a clip at its middle frame, and whether the others are there.

    An image whose pixels have no known range (`selectmm.pool.image.rgb`) is ``unreadable``.

    Args:
        alone: see `selectmm.pool.image.look`.
    """

    def see(picture: Image.Image) -> tuple[Pictures | None]:
        return (look_at([picture]) if pictures else None,)

    path, clip = pool.images[image], pool.clips[image]
    header, seen = _look_at_clip(pool, path, see) if clip else look(pool.image_root, path, alone, see)
    if seen is not None:
        return Look(header or NO_HEADER, "good", seen[0])
    cut = header is not None and header.mode in EIGHT_BIT and not clip
    return Look(header or NO_HEADER, "truncated" if cut else "unreadable", None)


def _look_at_clip(pool: Pool, path: str, see: Callable[[Image.Image], Seen]) -> tuple[Header | None, Seen | None]:
    """`selectmm.pool.image.look` for a clip."""
    header = None
    try:
        clip = pool.open_clip(path)
        header = Header(clip.width, clip.height, "RGB")
        picture = clip.checked_picture()
        if clip.is_turned():
            header = header._replace(mode=TURNED)
    except NotNow:
        raise
    except UserError:
        return header, None
    return header, see(picture)
