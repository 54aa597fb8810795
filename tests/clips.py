"""Clips made on the spot: a square of a colour that moves over a grey ground."""

from pathlib import Path

import av
import numpy as np

SIDE = 12  # pixels of the square


def write_clip(
    path: Path,
    frames: int = 12,
    fps: int = 4,
    colour: tuple[int, int, int] = (200, 30, 30),
    size: tuple[int, int] = (64, 64),
) -> Path:
    """An MP4 whose square goes from the left to the right edge; returns ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.full((height, width, 3), 128, np.uint8)
            left = (width - SIDE) * number // max(frames - 1, 1)
            picture[height // 3 : height // 3 + SIDE, left : left + SIDE] = colour
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path
