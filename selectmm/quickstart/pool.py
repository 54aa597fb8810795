"""Write the embedded pool as LLaVA's JSON with an image folder."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from selectmm.errors import UserError
from selectmm.quickstart.sources import Row, rows

SEED = 11


def write(folder: Path, keep: int | None = None) -> Path:
    """Write ``folder/pool.json`` and ``folder/images``; returns the JSON's path. The same bytes on every machine.

    An image is named by its pixels, so rows about one picture share one file, as in LLaVA-665K.

    Args:
        keep: how many rows to write, a uniform draw that is the same each time; None: all.

    Raises:
        UserError: there are fewer rows than ``keep``, or it is below one.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    made = _some(list(enumerate(rows(np.random.default_rng(SEED)))), keep)
    entries = [entry_of(number, row, save_image(row, images)) for number, row in made]
    path = folder / "pool.json"
    path.write_text(json.dumps(entries, indent=0, ensure_ascii=False))
    return path


def _some(made: list[tuple[int, Row]], keep: int | None) -> list[tuple[int, Row]]:
    """``keep`` of the numbered rows, in their order."""
    if keep is None:
        return made
    if not 1 <= keep <= len(made):
        raise UserError(f"The built-in pool has {len(made):,} rows; {keep:,} of them cannot be used.")
    return [made[i] for i in np.sort(np.random.default_rng(SEED).permutation(len(made))[:keep])]


def entry_of(number: int, row: Row, image: str | None) -> dict[str, Any]:
    """One entry in LLaVA's format; the image's placeholder opens the first question."""
    said = []
    for position, (prompt, answer) in enumerate(row.turns):
        first = row.image is not None and position == 0
        said.append({"from": "human", "value": f"<image>\n{prompt}" if first else prompt})
        said.append({"from": "gpt", "value": answer})
    entry = {"id": f"{row.source}-{number}", "conversations": said, "source": row.source}
    if image is not None:
        entry["image"] = image
    return entry


def save_image(row: Row, images: Path) -> str | None:
    """Write the row's image, if it has one, under a name that its pixels give it; returns the name."""
    if row.image is None:
        return None
    name = sha256(row.image.tobytes()).hexdigest()[:16] + ".png"
    if not (images / name).exists():
        row.image.save(images / name)
    return name
