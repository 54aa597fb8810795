"""A pool: the ordered, immutable rows that a method chooses from."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.health import Health
from selectmm.pool.sample import Sample, Turn

SCHEMA = pa.schema(
    [
        ("digest", pa.string()),
        ("source", pa.string()),
        ("image", pa.string()),  # relative to the image root; null for a text-only row
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))),
    ]
)


@dataclass(frozen=True, eq=False)
class Pool:
    """Rows on memory-mapped Arrow, with the folder their images lie in.

    ``fingerprint`` covers every row's content and every image's path and size in bytes. (An image that is replaced by
    another of the same size is not noticed; hashing 665K images at every start would cost an hour.)
    """

    table: pa.Table
    image_root: Path
    fingerprint: str
    health: Health | None = None  # what was found when the pool was read, bad rows included

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, position: int) -> Sample:
        row = self.table.slice(position, 1).to_pylist()[0]
        turns = tuple(Turn(turn["role"], turn["text"]) for turn in row["turns"])
        return Sample(position, row["digest"], row["source"], turns, row["image"], row.get("image_turn") or 0)

    @cached_property
    def sources(self) -> np.ndarray:
        """Source name of each row, [n] of str."""
        encoded = self._sources
        return np.asarray(encoded.dictionary.to_pylist(), dtype=object)[encoded.indices.to_numpy()]

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

    def image_size(self, relative: str) -> tuple[int, int]:
        """Width and height in pixels, from the file's header: nothing is decoded.

        Raises:
            UserError: see `open_image`.
        """
        with _opened(self.image_root, relative) as image:
            return image.size

    def open_image(self, relative: str) -> Image.Image:
        """The image as RGB.

        Raises:
            UserError: it is missing, broken, or its path leaves the image root.
        """
        return open_image(self.image_root, relative)


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Each distinct text once, in order of first use, and for each row its index: little beside the texts."""
    return column.dictionary_encode().combine_chunks()


def inside(root: Path, relative: str) -> Path:
    """``root / relative``, refused if it leaves the root (a pool is a file that a stranger may have written).

    Raises:
        UserError: the path is absolute or climbs out.
    """
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise UserError(f"Image path '{relative}' leaves the image folder {root}; paths must stay inside it.")
    return path


def open_image(root: Path, relative: str) -> Image.Image:
    """Open ``relative`` under ``root`` as RGB; errors as `Pool.open_image`."""
    with _opened(root, relative) as image:
        return image.convert("RGB")


@contextmanager
def _opened(root: Path, relative: str) -> Iterator[Image.Image]:
    """The image, not decoded yet; what goes wrong with it inside the block is a `UserError`."""
    path = inside(root, relative)
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError as problem:
        raise UserError(f"Image {path} is missing; put it there, or set pool.bad_rows=drop.") from problem
    except (OSError, SyntaxError, Image.DecompressionBombError) as problem:
        raise UserError(f"Image {path} cannot be read ({problem}); replace it, or set pool.bad_rows=drop.") from problem
