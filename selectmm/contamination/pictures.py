"""Which pictures are the same, and which nearly: recompressed or rescaled copies.

The same: equal pixels after decoding. Nearly: perceptual hashes (signs of 64 low frequencies) that differ in at most
`BITS` bits, *and* thumbnails whose colours differ by at most `LEVELS` of 255 on average. The hash alone is blind to
colour and to plain drawings, which all look alike to it; the README beside this file has the rates.
"""

import numpy as np

from selectmm.pool.pictures import Pictures

BITS = 8
LEVELS = 4.0
BLOCK = 2_000_000  # pairs of hashes compared at a time


def same(some: Pictures, others: Pictures) -> list[list[int]]:
    """The indices of ``others`` with equal pixels, for each of ``some``."""
    places: dict[bytes, list[int]] = {}
    for index, digest in enumerate(others.digests):
        places.setdefault(digest.tobytes(), []).append(index)
    return [places.get(digest.tobytes(), []) for digest in some.digests]


def nearly(some: Pictures, others: Pictures) -> list[list[int]]:
    """The indices of ``others`` that look nearly the same (or are the same), for each of ``some``."""
    found: list[list[int]] = []
    step = max(1, BLOCK // max(1, len(others)))
    for start in range(0, len(some), step):
        apart = np.bitwise_count(some.hashes[start : start + step, None] ^ others.hashes)
        for offset, bits in enumerate(apart):
            near = np.flatnonzero(bits <= BITS)
            mine = some.thumbnails[start + offset].astype(np.int16)
            found.append(near[np.abs(others.thumbnails[near] - mine).mean(axis=1) <= LEVELS].tolist())
    return found
