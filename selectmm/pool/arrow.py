"""A pool on disk: one Arrow file that is memory-mapped, so that its size does not matter."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa

from selectmm.cache.no_links import open_new
from selectmm.pool.pool import Pool
from selectmm.pool.root import Root
from selectmm.pool.row import Row
from selectmm.pool.sample import Shown
from selectmm.pool.stream import CountedIn
from selectmm.pool.table import COUNTED_IN, SCHEMA, SEVERAL, SHOWN

ROWS_PER_BATCH = 8_192
TEXT_PER_BATCH = 2**26  # characters of texts and paths; an Arrow array holds 2 GiB, and no row is much longer than this
WRITTEN = (
    SCHEMA.append(pa.field("id", pa.string()))
    .append(pa.field("image_turn", pa.int32()))
    .append(pa.field("place", pa.int64()))  # in the file that the row was read from
    .append(pa.field(SEVERAL, SHOWN))
)

Read = tuple[int, str, Row]
"""A row's place in its file, its digest, and what it says."""


def write_arrow(path: Path, rows: Iterable[Read], counted_in: CountedIn = "row") -> None:
    """Write rows (see `WRITTEN`) in batches, so that memory does not grow with their number.

    Args:
        counted_in: how places in the file are counted; the table remembers it.
    """
    schema = WRITTEN.with_metadata({COUNTED_IN: counted_in})
    with open_new(path) as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in _batches(rows):
            writer.write_batch(_batch(batch))


def _batches(rows: Iterable[Read]) -> Iterator[list[Read]]:
    """Rows in order, `ROWS_PER_BATCH` at a time, or fewer where these have more than `TEXT_PER_BATCH`."""
    batch: list[Read] = []
    size = 0
    for read in rows:
        batch.append(read)
        turns, images = read[2][1:3]
        size += sum([len(text) for _, text, _ in turns]) + sum([len(image[0]) for image in images])
        if len(batch) == ROWS_PER_BATCH or size >= TEXT_PER_BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def open_arrow(path: Path, image_root: Root, fingerprint: str, frames: str | None = None) -> Pool:
    """Map a file written by `write_arrow`; ``frames`` is the pool's, see `Pool.frames`."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return Pool(table, image_root, fingerprint, frames=None if frames is None else Path(frames))


def write_table(path: Path, table: pa.Table) -> None:
    """Write rows of a pool as a file that `open_arrow` maps."""
    with open_new(path) as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def write_blocks(path: Path, blocks: Iterable[pa.Table]) -> None:
    """Write at least one table after another as `write_table` does, so that memory does not grow with the rows."""
    stream = iter(blocks)
    first = next(stream)
    with open_new(path) as sink, pa.ipc.new_file(sink, first.schema) as writer:
        for block in chain([first], stream):
            writer.write_table(block)


def _trained(trained: Sequence[bool]) -> pa.BooleanArray:
    """Null, which is cheap, unless an answer is not trained on."""
    return pa.nulls(len(trained), pa.bool_()) if all(trained) else pa.array(trained)


def _several(shown: Sequence[tuple[Shown, ...]]) -> pa.Array:
    """Null, which is cheap, for all rows that show one image or none."""
    images = [own if len(own) > 1 or (own and own[0].video) else () for own in shown]
    if not any(images):
        return pa.nulls(len(shown), SHOWN)
    counts = np.fromiter(map(len, images), np.int32, len(images))
    ends = np.concatenate([[0], counts.cumsum()], dtype=np.int32)
    kind = SHOWN.value_type
    columns = zip(*chain.from_iterable(images), strict=True)  # in the order of `Shown`'s fields, which is the struct's
    arrays = [pa.array(values, field.type) for values, field in zip(columns, kind, strict=True)]
    one = pa.StructArray.from_arrays(arrays, fields=list(kind))
    return pa.ListArray.from_arrays(ends, one, SHOWN, mask=pa.array(counts == 0))


def _batch(rows: list[Read]) -> pa.RecordBatch:
    """Column by column, several times faster than row by row."""
    places, digests, read = zip(*rows, strict=True)
    sources, turns, images, ids, *_ = zip(*read, strict=True)
    roles, texts, trained = zip(*chain.from_iterable(turns), strict=True)
    ends = np.cumsum([0, *map(len, turns)], dtype=np.int32)
    kind = WRITTEN.field("turns").type.value_type
    words = pa.StructArray.from_arrays(
        [pa.array(roles, pa.string()), pa.array(texts, pa.string()), _trained(trained)], fields=list(kind)
    )
    columns = [
        pa.array(digests),
        pa.array(sources),
        pa.array([own[0].path if own else None for own in images], pa.string()),
        pa.ListArray.from_arrays(ends, words, WRITTEN.field("turns").type),
        pa.array(ids, pa.string()),
        pa.array([own[0].turn if own else 0 for own in images], pa.int32()),
        pa.array(places, pa.int64()),
        _several(images),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=WRITTEN)
