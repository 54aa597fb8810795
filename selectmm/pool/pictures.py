"""What is kept of a picture once it is decoded, to tell later whether another one is the same, or nearly.

A digest of its pixels, a perceptual hash (signs of 64 low frequencies) and a thumbnail of its colours; which of them
make two pictures the same is for `selectmm.contamination.pictures` to say.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from selectmm.cache.no_links import open_unlinked, refuse_links

SIDE = 16  # of a thumbnail


@dataclass(frozen=True)
class Pictures:
    """What is kept of n pictures.

    Attributes:
        digests: SHA-256 over size and pixels, [n, 32] of uint8.
        hashes: perceptual hashes, [n] of uint64.
        thumbnails: [n, 16·16·3] of uint8.
    """

    digests: np.ndarray
    hashes: np.ndarray
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.hashes)

    def save(self, file: Path) -> None:
        """Write as one ``.npz``.

        Raises:
            UserError: the file is a link.
        """
        with open_unlinked(file, "wb") as stream:
            np.savez(stream, digests=self.digests, hashes=self.hashes, thumbnails=self.thumbnails)


def load_pictures(file: Path) -> Pictures:
    """Read what `Pictures.save` wrote."""
    with np.load(file, allow_pickle=False) as kept:
        return Pictures(kept["digests"], kept["hashes"], kept["thumbnails"])


@dataclass(frozen=True)
class Kept:
    """Pictures in files of a folder, made by `room_for`, of which the images of a pool are some.

    Attributes:
        places: of each of `selectmm.pool.pool.Pool.images` among them, [images] of int64.
    """

    folder: Path
    places: np.ndarray

    def read(self) -> Pictures:
        """The pictures of the pool's images, in its order."""
        files = (np.load(self.folder / f"{name}.npy", mmap_mode="r") for name in _COLUMNS)
        return Pictures(*(np.asarray(column[self.places]) for column in files))


_COLUMNS = {"digests": (np.uint8, (32,)), "hashes": (np.uint64, ()), "thumbnails": (np.uint8, (SIDE * SIDE * 3,))}


def room_for(pictures: int, folder: Path) -> Pictures:
    """Files for at least one picture, which take no memory; all zero at first.

    Raises:
        UserError: one of them is a link.
    """
    refuse_links(folder / f"{name}.npy" for name in _COLUMNS)
    return Pictures(
        *(
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, (pictures, *shape))
            for name, (kind, shape) in _COLUMNS.items()
        )
    )


def look_at(images: Iterable[Image.Image]) -> Pictures:
    """What is to be kept of each image, in order."""
    kept = [_look(image) for image in images]
    digests = np.frombuffer(b"".join(digest for digest, _, _ in kept), np.uint8).reshape(-1, 32)
    hashes = np.array([value for _, value, _ in kept], np.uint64)
    thumbnails = np.array([thumbnail for _, _, thumbnail in kept], np.uint8).reshape(len(kept), SIDE * SIDE * 3)
    return Pictures(digests, hashes, thumbnails)


def join(parts: Sequence[Pictures]) -> Pictures:
    """All pictures of several, in order."""
    nothing = look_at([])
    columns = [[getattr(part, name) for part in (nothing, *parts)] for name in _COLUMNS]
    return Pictures(*(np.concatenate(column) for column in columns))


def _look(image: Image.Image) -> tuple[bytes, int, np.ndarray]:
    image = image.convert("RGB")
    digest = hashlib.sha256(str(image.size).encode() + image.tobytes()).digest()
    thumbnail = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)).ravel()
    return digest, _perceptual(image), thumbnail


def _perceptual(image: Image.Image) -> int:
    """pHash: the 8 × 8 lowest frequencies of a 32 × 32 grey copy, above their median or not."""
    from scipy.fft import dctn  # takes a while, and few who open a pool need it

    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    return int(np.packbits(low > np.median(low)).view(np.uint64)[0])
