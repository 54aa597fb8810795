"""How much work the rows of a pool are that is only known from its published counts."""

from dataclasses import replace
from functools import cache
from itertools import accumulate

import numpy as np

from selectmm.features.feature import View
from selectmm.flops.formulas import Load
from selectmm.flops.tower import pictures, projected, tower_flops
from selectmm.models.lengths import image_tokens
from selectmm.models.vlm import VLM
from selectmm.planning.known.pools import Images, Rows

TEMPLATE = 45  # tokens of a conversation without words, Vicuna's


def load_of_known(vlm: VLM, rows: Rows, view: View, units: np.ndarray, limit: int) -> Load:
    """The load of ``units``, [n] positions in `stand_in`'s pool, or in its images where ``view`` is ``image``.

    Rows of a part are taken as equally long, and the longest row as long as the limit.
    """
    if view == "image":
        kinds = [(TEMPLATE, 0, images) for images in rows.images.values()]
        sizes = [images.count for images in rows.images.values()]
    else:
        kinds = [
            (part.words, part.answers, rows.images.get(part.source))
            if view == "conversation"
            else (part.answers + TEMPLATE, part.answers, None)
            for part in rows.parts
        ]
        sizes = [part.rows for part in rows.parts]
    edges = list(accumulate(sizes))
    counts = np.bincount(np.searchsorted(edges, units, "right"), minlength=len(sizes))
    loads = [_load(vlm, *kind, limit).as_many_as(int(n)) for kind, n in zip(kinds, counts, strict=True) if n]
    total = sum(loads, Load())
    return total if view == "image" else replace(total, longest=limit)


def _load(vlm: VLM, words: int, answers: int, images: Images | None, limit: int) -> Load:
    seen = image_load(vlm, images.size) if images else Load()
    tokens = min(words + seen.image_tokens, limit)
    return replace(seen, rows=1, tokens=tokens, squares=tokens**2, answers=min(answers, tokens), longest=int(tokens))


@cache
def image_load(vlm: VLM, size: tuple[int, int]) -> Load:
    """Tokens and the tower's FLOPs of one image of so many pixels, by the processor that a run would use."""
    seen = pictures(vlm, size)
    tokens = image_tokens(vlm, [size])[0]
    return Load(image_tokens=tokens, projected=projected(vlm, seen, tokens), tower=tower_flops(vlm, seen))
