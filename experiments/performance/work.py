"""How much work the rows of a pass are, for its floor: FLOPs by the formulas of `selectmm.planning`, and pixels."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from experiments.performance.floor import Part, decoding, products
from experiments.performance.rows import LIMIT, Rows
from selectmm.features.feature import View
from selectmm.flops.anatomy import Anatomy, anatomy_of
from selectmm.flops.formulas import Load
from selectmm.models.vlm import VLM
from selectmm.planning.load import Loads
from selectmm.pool.pool import Pool


@dataclass(frozen=True)
class Amount:
    """Rows of a pool under a model.

    Attributes:
        load: tokens, squares and FLOPs of the vision tower, without padding, each row cut to the limit.
        pixels: of the pictures, each as often as it is opened. batch: tokens of an average batch.
        picture: a file's bytes that stand for the others, None if no row shows one.
    """

    vlm: VLM
    body: Anatomy
    load: Load
    pixels: int
    batch: int
    picture: bytes | None


def amount_of(rows: Rows, view: View = "conversation", limit: int = LIMIT, pattern: str | None = None) -> Amount:
    """Of all rows, or of all images once. ``pattern``: where LoRA is, as for `anatomy_of`."""
    vlm, pool = rows.open_model(), rows.open_pool()
    units = len(pool.images) if view == "image" else len(pool)
    load = Loads(units).of(vlm, pool, view, np.arange(units), limit)
    names = [pool.images[one] for one in (range(units) if view == "image" else pool.image_of[pool.image_of >= 0])]
    batch = max(1, round(load.tokens / units * rows.batch_size))
    return Amount(vlm, anatomy_of(vlm, pattern), load, _pixels(pool, names), batch, _picture(pool, names))


def computing(amount: Amount, what: str, flops: float) -> Part:
    """FLOPs at the rate of the decoder's widest matrix product, over as many tokens as a batch has."""
    return Part(what, flops, "FLOP", products(amount.batch, amount.body.width, amount.body.layers[0].inner))


def opening(amount: Amount) -> tuple[Part, ...]:
    """Pictures decoded, each time that a row shows one."""
    if amount.picture is None:
        return ()
    rate = decoding(amount.picture)
    return (Part("pictures decoded, as often as they are shown", amount.pixels, "pixels", rate),)


def _pixels(pool: Pool, names: Sequence[str]) -> int:
    sides = {name: pool.image_size(name) for name in set(names)}
    return sum(sides[name][0] * sides[name][1] for name in names)


def _picture(pool: Pool, names: Sequence[str]) -> bytes | None:
    """The first one, compressed again as its name says: a pool's images need not be files of a folder."""
    if not names:
        return None
    compressed = io.BytesIO()
    kind = "PNG" if PurePosixPath(names[0]).suffix.lower() == ".png" else "JPEG"
    pool.open_image(names[0]).save(compressed, kind)
    return compressed.getvalue()
