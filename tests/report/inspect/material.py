"""Pools of invented rows for the page's tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from selectmm.methods.subset import Subset
from selectmm.pool.arrow import open_arrow, write_arrow
from selectmm.pool.pool import Pool
from selectmm.pool.row import Row
from selectmm.pool.sample import Shown, Turn
from selectmm.report.inspect.choice import Choice


def pool_of(folder: Path, rows: Sequence[tuple[str, str, str, str | None]]) -> Pool:
    """Rows of (source, question, answer, image); ``a.png`` and ``b.png`` exist, 300 × 100 pixels of one colour."""
    for name, colour in (("a.png", (200, 30, 30)), ("b.png", (30, 30, 200))):
        Image.new("RGB", (300, 100), colour).save(folder / name)
    entries = [
        (number, str(number), Row(source, (Turn("user", question), Turn("assistant", answer)), shown))
        for number, (source, question, answer, image) in enumerate(rows)
        for shown in [(Shown(image),) if image else ()]
    ]
    write_arrow(folder / "pool.arrow", entries)
    return open_arrow(folder / "pool.arrow", folder, "pool0")


def plain_pool(folder: Path, rows: int) -> Pool:
    """Text-only rows, by turns of source ``a`` and ``b``."""
    return pool_of(folder, [("ab"[row % 2], f"question {row}", f"answer {row}", None) for row in range(rows)])


def choice_of(pool: Pool, rows: Sequence[int], scores: Sequence[float] | None = None) -> Choice:
    """A choice of these rows, of the method ``toy``."""
    given = None if scores is None else np.asarray(scores, np.float64)
    return Choice("toy", pool, Subset(np.asarray(rows, np.int64), given))
