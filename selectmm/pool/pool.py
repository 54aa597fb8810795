"""A pool: the ordered, immutable rows that a method chooses from."""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from selectmm.pool.bad import shown
from selectmm.pool.health import Health
from selectmm.pool.image import excerpt, header_of, open_image
from selectmm.pool.sample import Sample, Turn
from selectmm.pool.unfit import Unfit

SCHEMA = pa.schema(
    [
        ("digest", pa.string()),
        ("source", pa.string()),
        ("image", pa.string()),  # relative to the image root; null for a text-only row
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("text", pa.string()), ("trained", pa.bool_())]))),
    ]
)
COUNTED_IN = "counted_in"  # in the metadata of a table's schema
PLACE = "place"  # column: a row's place in the pool's file


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows on memory-mapped Arrow, with the folder their images lie in.

    ``fingerprint`` covers every row's content and every image's path and size in bytes. (An image that is replaced by
    another of the same size is not noticed; hashing 665K images at every start would cost an hour.)

    Attributes:
        health: what was found when the pool was read, bad rows included.
        sizes: width and height of each of `images`, [images, 2] of int32, 0 where a header cannot be read; None if they
            were not looked at.
        unfit: rows that were left out because the model cannot take them.
    """

    table: pa.Table
    image_root: Path
    fingerprint: str
    health: Health | None = None
    sizes: np.ndarray | None = None
    unfit: Unfit | None = None

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, position: int) -> Sample:
        row = self.table.slice(position, 1).to_pylist()[0]
        turns = tuple(Turn(turn["role"], turn["text"], turn.get("trained") is not False) for turn in row["turns"])
        return Sample(position, row["digest"], row["source"], turns, row["image"], row.get("image_turn") or 0)

    def place_of(self, position: int) -> dict[str, object]:
        """A row as its file knows it, whichever rows were left out before it: its id, and its place there.

        The place is a ``row`` (a list's entry or a table's row, from 0) or a ``line`` (from 1).
        """
        columns = self.table.column_names
        place = self.table[PLACE][position].as_py() if PLACE in columns else position
        id = self.table["id"][position].as_py() if "id" in columns else None
        return {self.counted_in: place, "id": id}

    @property
    def counted_in(self) -> str:
        """How places in the file are counted, see `selectmm.pool.stream.CountedIn`."""
        return (self.table.schema.metadata or {}).get(COUNTED_IN.encode(), b"row").decode()

    def named(self, position: int) -> str:
        """`place_of` in words: "row 195 (id '17')"."""
        (counted_in, place), (_, id) = self.place_of(position).items()
        return f"{counted_in} {place}" + ("" if id is None else f" (id {shown(id)})")

    @cached_property
    def sources(self) -> np.ndarray:
        """Source name of each row, [n] of str."""
        encoded = self._sources
        return np.asarray(encoded.dictionary.to_pylist(), dtype=object)[encoded.indices.to_numpy()]

    @cached_property
    def source_of(self) -> np.ndarray:
        """For each row the place of its source among the sorted names of all sources, [n] of int64."""
        names = self._sources.dictionary.to_pylist()
        place = np.empty(len(names), np.int64)
        place[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return place[self._sources.indices.to_numpy()]

    @cached_property
    def _sources(self) -> pa.DictionaryArray:
        return _encoded(self.table["source"])

    @cached_property
    def _images(self) -> pa.DictionaryArray:
        return _encoded(self.table["image"])

    @cached_property
    def images(self) -> list[str]:
        """The unique images, as relative paths, in order of first use."""
        return self._images.dictionary.to_pylist()

    @cached_property
    def image_of(self) -> np.ndarray:
        """For each row its index into `images`, −1 for a text-only row; [n] of int64."""
        return self._images.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)

    def counts(self) -> dict[str, int]:
        """Rows per source, largest first."""
        rows = np.bincount(self._sources.indices.to_numpy()).tolist()
        return dict(Counter(dict(zip(self._sources.dictionary.to_pylist(), rows, strict=True))).most_common())

    def told(self, position: int) -> str:
        """`named` and the row's image: "row 195 (id '17'), coco/1.jpg"."""
        image = self.table["image"][position].as_py()
        return self.named(position) + ("" if image is None else f", {excerpt(image)}")

    def without(self, rows: list[int], fingerprint: str, unfit: Unfit | None = None) -> "Pool":
        """The pool without the rows at these positions; ``fingerprint`` names what is left."""
        kept = np.setdiff1d(np.arange(len(self)), rows)
        sizes = self.sizes
        if sizes is not None:  # of the images that are left, in the order in which they are now first used
            used = self.image_of[kept]
            used = used[used >= 0]
            sizes = sizes[used[np.sort(np.unique(used, return_index=True)[1])]]
        return Pool(taken(self.table, kept), self.image_root, fingerprint, self.health, sizes, unfit)

    def image_size(self, relative: str) -> tuple[int, int]:
        """Width and height in pixels, from the file's header: nothing is decoded.

        Raises:
            UserError: see `open_image`.
        """
        header = header_of(self.image_root, relative)
        return header.width, header.height

    def open_image(self, relative: str) -> Image.Image:
        """The image as RGB.

        Raises:
            UserError: it is missing, broken, or its path leaves the image root.
        """
        return open_image(self.image_root, relative)


def taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The rows at these positions, which keep their places in the pool's file (`PLACE`)."""
    if PLACE not in table.column_names:
        table = table.append_column(PLACE, pa.array(np.arange(table.num_rows, dtype=np.int64)))
    return table.take(pa.array(rows))


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Each distinct text once, in order of first use, and for each row its index: little beside the texts."""
    return column.dictionary_encode().combine_chunks()
