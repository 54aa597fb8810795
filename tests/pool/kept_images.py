"""Images of one pool, and tars of files: for the tests of where images are kept."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = [f"coco/{number:03}.png" for number in range(9)] + ["gqa/long/9.jpg", "gqa/ü.jpg", "loose.jpg"]


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (8 + number, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def contents() -> dict[str, bytes]:
    found = {}
    for number, name in enumerate(NAMES):
        with io.BytesIO() as stream:
            picture(number).save(stream, "PNG" if name.endswith("png") else "JPEG")
            found[name] = stream.getvalue()
    return found | {"coco/003.png": b"no image"}


def tar_of(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path
