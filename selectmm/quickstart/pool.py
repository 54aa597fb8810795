"""Write the embedded pool as LLaVA's JSON with an image folder."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from selectmm.quickstart.sources import Row, rows

SEED = 11


def write(folder: Path) -> Path:
    """Write ``folder/pool.json`` and ``folder/images``; returns the JSON's path. The same bytes on every machine.

    An image is named by its pixels, so rows about one picture share one file, as in LLaVA-665K.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    entries = [_entry(number, row, images) for number, row in enumerate(rows(np.random.default_rng(SEED)))]
    path = folder / "pool.json"
    path.write_text(json.dumps(entries, indent=0, ensure_ascii=False))
    return path


def _entry(number: int, row: Row, images: Path) -> dict:
    """One entry in LLaVA's format; the image's placeholder opens the first question."""
    said = []
    for position, (prompt, answer) in enumerate(row.turns):
        first = row.image is not None and position == 0
        said.append({"from": "human", "value": f"<image>\n{prompt}" if first else prompt})
        said.append({"from": "gpt", "value": answer})
    entry = {"id": f"{row.source}-{number}", "conversations": said, "source": row.source}
    if row.image is not None:
        entry["image"] = _file(row.image, images)
    return entry


def _file(image: Image.Image, images: Path) -> str:
    name = sha256(image.tobytes()).hexdigest()[:16] + ".png"
    if not (images / name).exists():
        image.save(images / name)
    return name
