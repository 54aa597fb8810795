"""Rows, images and lengths of the pools in configs/pool, so that they can be planned for before they are downloaded.

How many rows a pool has is published. How many tokens its words have is not, in any source that we know of: the numbers
of `Part.words` and `Part.answers` are estimates of ours from the kind of rows, right to perhaps 30 %. With LLaVA-1.5,
whose images have 576 tokens each, such an error moves all tokens of a row by about 12 %.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from selectmm.pool.pool import Pool
from selectmm.pool.table import SCHEMA

ASSUMED = "tokens of the words of a row (no published count; right to perhaps 30 %)"


@dataclass(frozen=True)
class Part:
    """Rows of one kind.

    Attributes:
        source: the pool's own name for them. rows: how many.
        words: tokens of a row without its image, template included, on average. answers: those of them that the loss is
            taken on. Both are assumptions.
    """

    source: str
    rows: int
    words: int
    answers: int


@dataclass(frozen=True)
class Images:
    """How many unique images a source has, and the width and height of a typical one, in pixels (an assumption)."""

    count: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Rows:
    """A pool without its files.

    Attributes:
        name: of its file in configs/pool. file: as that names it. text_only: what it does with rows without image; None
            if that is all the same.
        source: where row counts are from. assumed: what is no published fact.
        images: by source; one that is not there has no images.
    """

    name: str
    file: str
    text_only: str | None
    source: str
    assumed: str
    parts: tuple[Part, ...]
    images: Mapping[str, Images]

    @property
    def fingerprint(self) -> str:
        """A fingerprint in the place of a real pool's, which no cached stage can have."""
        return f"published counts of {self.name}"


# Row counts: LLaVA-1.5's file, part by part, in results/published/scores.csv (table `composition`). VQAv2's 443,757
# questions are on 82,783 images, a row each; GQA's rows are its images, and so are VG's, OCR-VQA's and TextCaps'.
_LLAVA = (
    Part("coco", 57_669, 380, 270),  # LLaVA's conversations
    Part("coco", 23_240, 180, 120),  # detailed descriptions
    Part("coco", 76_803, 260, 180),  # reasoning
    Part("coco", 82_783, 155, 16),  # VQAv2, 5.4 questions a row
    Part("coco", 8_998, 70, 4),  # OK-VQA
    Part("coco", 66_160, 110, 3),  # A-OKVQA
    Part("coco", 48_447, 400, 200),  # RefCOCO
    Part("vg", 86_417, 500, 250),
    Part("gqa", 72_140, 333, 39),  # 13 questions a row
    Part("ocr_vqa", 80_000, 165, 40),
    Part("textvqa", 21_953, 130, 20),
)
_LLAVA_IMAGES = {
    "coco": Images(118_287, (640, 480)),  # all of train2017: more are not possible
    "vg": Images(86_417, (500, 375)),
    "gqa": Images(72_140, (500, 375)),
    "ocr_vqa": Images(80_000, (350, 500)),
    "textvqa": Images(21_953, (1024, 768)),
}
_LLAVA_FILE = "data/llava_v1_5_mix665k.json"
_SIZES = "sizes of images (COCO's 640 × 480, and the like)"
_COCO = "118,287 unique images of COCO, the most that there can be"

POOLS = (
    Rows(
        "llava_665k",
        _LLAVA_FILE,
        "take",
        "llava_v1_5_mix665k.json, part by part (results/published/scores.csv)",
        f"{ASSUMED}; {_COCO}; {_SIZES}",
        (*_LLAVA, Part("text", 40_688, 1_200, 800)),  # ShareGPT
        _LLAVA_IMAGES,
    ),
    Rows(
        "llava_v_625k",
        _LLAVA_FILE,
        "leave_out",
        "llava_v1_5_mix665k.json without ShareGPT (results/published/scores.csv)",
        f"{ASSUMED}; {_COCO}; {_SIZES}",
        _LLAVA,
        _LLAVA_IMAGES,
    ),
    Rows(
        "vision_flan_186k",
        "data/annotation_191-task_1k.json",
        None,
        "arXiv 2402.11690: 191 tasks of at most 1,000 rows, about 186,000 in all",
        f"{ASSUMED}; tasks of the same size; an image of its own for each row; {_SIZES}",
        tuple(Part(f"task {task:03}", 974, 130, 30) for task in range(191)),
        {f"task {task:03}": Images(974, (640, 480)) for task in range(191)},
    ),
    Rows(
        "lrv",
        "data/filter_cap.json",
        None,
        "arXiv 2306.14565: about 180,000 rows; Visual Genome has 108,077 images",
        f"{ASSUMED}; all images of Visual Genome; {_SIZES}",
        (Part("images", 180_000, 110, 30),),
        {"images": Images(108_077, (500, 375))},
    ),
)


def rows_of(config: Mapping[str, Any]) -> Rows | None:
    """What is known of the pool of a ``pool`` group; None if its file is there, or is not called as one of `POOLS`."""
    file = str(config.get("file"))
    if Path(file).exists():
        return None
    kept = config.get("text_only")
    named = (rows for rows in POOLS if Path(rows.file).name == Path(file).name and rows.text_only in (None, kept))
    return next(named, None)


_BUILT: dict[str, Pool] = {}


def stand_in(rows: Rows) -> Pool:
    """A pool with as many rows, sources and images, and no words: for what only counts them. Rows are in parts' order.

    A source's rows show its images one after the other, and begin again when all have been shown.
    """
    if rows.name not in _BUILT:
        _BUILT[rows.name] = Pool(_table(rows), Path(), rows.fingerprint)
    return _BUILT[rows.name]


def _table(rows: Rows) -> pa.Table:
    sources, images = [], []
    shown: Counter[str] = Counter()
    for part in rows.parts:
        sources += [part.source] * part.rows
        count = rows.images[part.source].count if part.source in rows.images else 0
        first = shown[part.source]
        images += [f"{part.source}/{row % count}" if count else None for row in range(first, first + part.rows)]
        shown[part.source] += part.rows
    turns = SCHEMA.field("turns").type
    empty = pa.ListArray.from_arrays(np.zeros(len(sources) + 1, np.int32), pa.array([], turns.value_type))
    digests = [f"{row:032x}" for row in range(len(sources))]
    return pa.Table.from_arrays(
        [pa.array(digests), pa.array(sources), pa.array(images, pa.string()), empty], schema=SCHEMA
    )
