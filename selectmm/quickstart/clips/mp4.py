"""Write frames as an MP4 that says the same, and is as long, whatever encoder wrote it.

A pool's fingerprint covers the names and sizes of its files. So a file is named by its pixels; the codec is PNG, which
loses nothing; and a box that MP4 calls ``free`` fills every file up to one size.
"""

import io
from hashlib import sha256
from pathlib import Path

import av
import numpy as np

BYTES = 16_384  # of a file


def write(frames: np.ndarray, fps: int, folder: Path) -> str:
    """Write frames, [frames, height, width, 3] of uint8, under a name that their pixels give them; returns the name.

    Raises:
        ValueError: the frames need more than `BYTES`.
    """
    name = sha256(frames.tobytes()).hexdigest()[:16] + ".mp4"
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_filled(_encoded(frames, fps)))
    return name


def _encoded(frames: np.ndarray, fps: int) -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4", options={"fflags": "+bitexact"}) as container:  # neither date nor version
        video = container.add_stream("png", rate=fps)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "rgb24"
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
    return stream.getvalue()


def _filled(content: bytes) -> bytes:
    left = BYTES - len(content)
    if left < 8:  # a box begins with its size and its name, of four bytes each
        raise ValueError(f"the clip has {len(content):,} bytes, more than {BYTES - 8:,}")
    return content + left.to_bytes(4, "big") + b"free" + bytes(left - 8)
