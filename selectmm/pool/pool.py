"""A pool: the ordered, immutable rows that a method chooses from."""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from selectmm.pool.bad import excerpt, shown
from selectmm.pool.clip import Clip, open_clip
from selectmm.pool.health import Health
from selectmm.pool.image import header_of, open_image
from selectmm.pool.pictures import Kept
from selectmm.pool.root import Root
from selectmm.pool.sample import Sample, Shown, Turn
from selectmm.pool.table import COUNTED_IN, DATA_STATE, PLACE, SEVERAL, encoded, taken, unique_images
from selectmm.pool.unfit import Unfit


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
        frames: a folder that clips' frames are kept in once they are decoded.
        pictures: what was kept of its images when they were looked at; None if nobody had asked for that.
    """

    table: pa.Table
    image_root: Root
    fingerprint: str
    health: Health | None = None
    sizes: np.ndarray | None = None
    unfit: Unfit | None = None
    frames: Path | None = None
    pictures: Kept | None = None

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, position: int) -> Sample:
        row = self.table.slice(position, 1).to_pylist()[0]
        turns = tuple(Turn(turn["role"], turn["text"], turn.get("trained") is not False) for turn in row["turns"])
        several = row.get(SEVERAL)
        images = tuple(Shown(**one) for one in several) if several else ()
        if row["image"] is not None and not several:
            images = (Shown(row["image"], row.get("image_turn") or 0),)
        return Sample(position, row["digest"], row["source"], turns, images)

    def place_of(self, position: int) -> dict[str, Any]:
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

    @property
    def data_state(self) -> str:
        """The state of the hub's data set it was read from (`selectmm.pool.hub.state_of_data`); empty if from none."""
        return (self.table.schema.metadata or {}).get(DATA_STATE.encode(), b"").decode()

    def read_from(self, data_state: str) -> "Pool":
        """The same pool, which knows the state of the data set that its rows were read from."""
        metadata = self.table.schema.metadata or {}
        return replace(self, table=self.table.replace_schema_metadata({**metadata, DATA_STATE: data_state}))

    def named(self, position: int) -> str:
        """The row's `place_of` in words: "row 195 (id '17')"."""
        (counted_in, place), (_, id) = self.place_of(position).items()
        return f"{counted_in} {place}" + ("" if id is None else f" (id {shown(id)})")

    @cached_property
    def sources(self) -> np.ndarray:
        """Source name of each row, [n] of str."""
        encoded = self._sources
        return np.asarray(encoded.dictionary.to_pylist(), dtype=object)[encoded.indices.to_numpy()]

    @cached_property
    def source_of(self) -> np.ndarray:
        """The place of each row's source among the sorted names of all sources, [n] of int64."""
        names = self._sources.dictionary.to_pylist()
        place = np.empty(len(names), np.int64)
        place[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
        return place[self._sources.indices.to_numpy()]

    @cached_property
    def _sources(self) -> pa.DictionaryArray:
        return encoded(self.table["source"])

    @cached_property
    def _images(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        return unique_images(self.table)

    @cached_property
    def images(self) -> list[str]:
        """The unique images, as relative paths, in order of first use."""
        return self._images[0]

    @cached_property
    def clips(self) -> np.ndarray:
        """Which of `images` are clips, [images] of bool."""
        if SEVERAL not in self.table.column_names or self.table[SEVERAL].null_count == len(self):
            return np.zeros(len(self.images), bool)
        paths: set[str] = set()
        for chunk in self.table[SEVERAL].chunks:
            shown = chunk.flatten()
            paths.update(pc.struct_field(shown, "path").filter(pc.struct_field(shown, "video")).to_pylist())
        return np.array([path in paths for path in self.images], bool)

    @property
    def shown(self) -> tuple[np.ndarray, np.ndarray]:
        """All images of all rows: row i shows ``images[of[ends[i]:ends[i + 1]]]`` in this order; (ends, of).

        ``ends`` is [n + 1] and ``of`` [images shown], both of int64.
        """
        return self._images[1:]

    @cached_property
    def image_of(self) -> np.ndarray:
        """The index of each row's first image into `images`, −1 for a text-only row; [n] of int64."""
        ends, of = self.shown
        first, shows = np.full(len(self), -1), ends[1:] > ends[:-1]
        first[shows] = of if len(of) == shows.sum() else of[ends[:-1][shows]]  # the former without a copy
        return first

    @property
    def several(self) -> np.ndarray:
        """Positions of the rows that show several images, ascending; [rows] of int64."""
        return np.flatnonzero(np.diff(self.shown[0]) > 1)

    def showing(self, images: np.ndarray) -> np.ndarray:
        """Positions of the rows that show one of the marked `images`, [images] of bool; ascending, [rows] of int64."""
        ends, of = self.shown
        return np.unique(np.searchsorted(ends, np.flatnonzero(images[of]), "right") - 1)

    def counts(self) -> dict[str, int]:
        """Rows per source, largest first."""
        found = self.table["source"].value_counts()
        names, rows = (found.field(name).to_pylist() for name in ("values", "counts"))
        return dict(Counter(dict(zip(names, rows, strict=True))).most_common())

    def named_with_images(self, position: int) -> str:
        """The row as `named`, and its images: "row 195 (id '17'), coco/1.jpg and 2 more"."""
        images = self[position].images
        more = f" and {len(images) - 1} more" if len(images) > 1 else ""
        return self.named(position) + (f", {excerpt(images[0].path)}{more}" if images else "")

    def looked_at(
        self, fingerprint: str, health: Health, sizes: np.ndarray, frames: Path, pictures: Kept | None
    ) -> "Pool":
        """The same rows after a look at their images; see the attributes."""
        pool = Pool(self.table, self.image_root, fingerprint, health, sizes, None, frames, pictures)
        vars(pool)["_images"] = self._images  # to find them again would take time and memory
        return pool

    def without(self, rows: list[int], fingerprint: str, unfit: Unfit | None = None) -> "Pool":
        """The pool without the rows at these positions; ``fingerprint`` names what is left."""
        kept = np.setdiff1d(np.arange(len(self)), rows)
        left = self._images_left(kept)
        sizes = None if self.sizes is None else self.sizes[left]
        pictures = None if self.pictures is None else replace(self.pictures, places=self.pictures.places[left])
        table = taken(self.table, kept)
        return Pool(table, self.image_root, fingerprint, self.health, sizes, unfit, self.frames, pictures)

    def _images_left(self, rows: np.ndarray) -> np.ndarray:
        """Places of the images that these rows show, in the order in which they are first used among them."""
        ends, of = self.shown
        used = of[np.repeat(np.isin(np.arange(len(self)), rows), np.diff(ends))]
        return used[np.sort(np.unique(used, return_index=True)[1])]

    def image_size(self, relative: str) -> tuple[int, int]:
        """Width and height in pixels, from the file's header: nothing is decoded.

        Raises:
            UserError: see `open_image`.
        """
        header = header_of(self.image_root, relative)
        return header.width, header.height

    @property
    def frames_spelled(self) -> str | None:
        """The `frames` as another process finds them, whatever folder it starts in."""
        return None if self.frames is None else str(self.frames.resolve())

    def open_clip(self, relative: str) -> Clip:
        """The clip's header, and a way to its frames.

        Raises:
            UserError: see `selectmm.pool.clip.open_clip`.
        """
        return open_clip(self.image_root, relative, self.frames)

    def open_shown(self, image: Shown) -> Image.Image | Clip:
        """The image as RGB, or the clip."""
        return self.open_clip(image.path) if image.video else self.open_image(image.path)

    def open_image(self, relative: str) -> Image.Image:
        """The image as RGB; of a clip its middle frame, for those who look at pictures alone.

        Raises:
            UserError: it is missing, broken, or its path leaves the image root.
        """
        if self._is_clip(relative):
            return self.open_clip(relative).picture()
        return open_image(self.image_root, relative)

    def _is_clip(self, relative: str) -> bool:
        return bool(self._clip_paths) and relative in self._clip_paths

    @cached_property
    def _clip_paths(self) -> frozenset[str]:
        return frozenset(path for path, clip in zip(self.images, self.clips, strict=True) if clip)
