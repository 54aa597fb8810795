"""Which pictures are the same, and which nearly: recompressed or rescaled copies.

The same: equal pixels after decoding. Nearly: perceptual hashes (signs of 64 low frequencies) that differ in at most
`BITS` bits, *and* thumbnails whose colours differ by at most `LEVELS` of 255 on average. The hash alone is blind to
colour and to plain drawings, which all look alike to it; the README beside this file has the rates.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.fft import dctn

BITS = 8
LEVELS = 4.0
SIDE = 16  # of a thumbnail
BLOCK = 2_000_000  # pairs of hashes compared at a time


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
        """Write as one ``.npz``."""
        np.savez(file, digests=self.digests, hashes=self.hashes, thumbnails=self.thumbnails)


def load_pictures(file: Path) -> Pictures:
    """Read what `Pictures.save` wrote."""
    with np.load(file, allow_pickle=False) as kept:
        return Pictures(kept["digests"], kept["hashes"], kept["thumbnails"])


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
    columns = [[getattr(part, name) for part in (nothing, *parts)] for name in ("digests", "hashes", "thumbnails")]
    return Pictures(*(np.concatenate(column) for column in columns))


def same(some: Pictures, others: Pictures) -> list[list[int]]:
    """For each of ``some`` the indices of ``others`` with equal pixels."""
    places: dict[bytes, list[int]] = {}
    for index, digest in enumerate(others.digests):
        places.setdefault(digest.tobytes(), []).append(index)
    return [places.get(digest.tobytes(), []) for digest in some.digests]


def nearly(some: Pictures, others: Pictures) -> list[list[int]]:
    """For each of ``some`` the indices of ``others`` that look nearly the same, those that are the same among them."""
    found: list[list[int]] = []
    step = max(1, BLOCK // max(1, len(others)))
    for start in range(0, len(some), step):
        apart = np.bitwise_count(some.hashes[start : start + step, None] ^ others.hashes)
        for offset, bits in enumerate(apart):
            near = np.flatnonzero(bits <= BITS)
            mine = some.thumbnails[start + offset].astype(np.int16)
            found.append(near[np.abs(others.thumbnails[near] - mine).mean(axis=1) <= LEVELS].tolist())
    return found


def _look(image: Image.Image) -> tuple[bytes, int, np.ndarray]:
    image = image.convert("RGB")
    digest = hashlib.sha256(str(image.size).encode() + image.tobytes()).digest()
    thumbnail = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)).ravel()
    return digest, _perceptual(image), thumbnail


def _perceptual(image: Image.Image) -> int:
    """pHash: the 8 × 8 lowest frequencies of a 32 × 32 grey copy, above their median or not."""
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    low = dctn(grey, norm="ortho")[:8, :8].ravel()
    return int(np.packbits(low > np.median(low)).view(np.uint64)[0])
