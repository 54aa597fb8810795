"""The Arrow table that a pool's rows are in: its columns, and what is read of them without making rows of it."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SCHEMA = pa.schema(
    [
        ("digest", pa.string()),
        ("source", pa.string()),
        ("image", pa.string()),  # the first one, relative to the image root; null for a text-only row
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("text", pa.string()), ("trained", pa.bool_())]))),
    ]
)
SEVERAL = "images"  # column: all images of a row that shows several, or a clip; null in every other row
SHOWN = pa.list_(
    pa.struct(
        [("path", pa.string()), ("turn", pa.int32()), ("at", pa.int32()), ("inline", pa.bool_()), ("video", pa.bool_())]
    )
)
COUNTED_IN = "counted_in"  # in the metadata of a table's schema
DATA_STATE = "data_state"  # beside it: of the data set that the rows were read from, see `Pool.data_state`
TAKEN_AT_ONCE = 8_192  # rows
PLACE = "place"  # column: a row's place in the pool's file


def taken(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """The rows at these positions, which keep their places in the pool's file (`PLACE`)."""
    blocks = list(blocks_of(table, rows))
    return pa.concat_tables(blocks) if blocks else _placed(table).slice(0, 0)


def blocks_of(table: pa.Table, rows: np.ndarray) -> Iterator[pa.Table]:
    """Yield what `taken` gives, some rows at a time.

    Arrow's own ``take`` joins all chunks of a column first, which it cannot where they hold more than 2 GiB of text; so
    a block's rows are taken chunk by chunk and then put in order.
    """
    chunks = _placed(table).to_batches()
    ends = np.cumsum([len(chunk) for chunk in chunks])
    for start in range(0, len(rows), TAKEN_AT_ONCE):
        block = np.asarray(rows[start : start + TAKEN_AT_ONCE], np.int64)
        order = np.argsort(block, kind="stable")
        of = np.searchsorted(ends, block[order], "right")
        parts = [
            chunks[chunk].take(pa.array(block[order][of == chunk] - (ends[chunk] - len(chunks[chunk]))))
            for chunk in np.unique(of)
        ]
        joined = pa.Table.from_batches(parts).combine_chunks()
        yield joined.take(pa.array(np.argsort(order)))


def _placed(table: pa.Table) -> pa.Table:
    if PLACE in table.column_names:
        return table
    return table.append_column(PLACE, pa.array(np.arange(table.num_rows, dtype=np.int64)))


def unique_images(table: pa.Table) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Unique paths in order of first use, and `Pool.shown`; a batch at a time, so that little else is in memory."""
    places: dict[str, int] = {}
    ends, of, row = np.zeros(len(table) + 1, np.int64), [np.empty(0, np.int32)], 1
    for batch in table.select([name for name in ("image", SEVERAL) if name in table.column_names]).to_batches():
        paths, ends[row : row + len(batch)] = _paths_of(batch)
        row += len(batch)
        indexed = paths.dictionary_encode()
        codes = [places.setdefault(path, len(places)) for path in indexed.dictionary.to_pylist()]
        of.append(np.array(codes, np.int32)[indexed.indices.to_numpy()])
    np.cumsum(ends, out=ends)
    return list(places), ends, np.concatenate(of, dtype=np.int64)


def _paths_of(batch: pa.RecordBatch) -> tuple[pa.Array, np.ndarray]:
    """The paths of all images that some rows show, row after row, and how many each shows, [rows] of int64."""
    first = batch["image"]
    shows = first.is_valid().to_numpy(zero_copy_only=False).astype(np.int64)
    if SEVERAL not in batch.schema.names or batch[SEVERAL].null_count == len(batch):
        return first.drop_null(), shows
    lists = batch[SEVERAL]
    own = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)
    counts = np.where(own > 0, own, shows)
    listed = pc.struct_field(pc.list_flatten(lists), "path")
    many = np.repeat(own > 0, counts)
    places = np.empty(len(many), np.int64)  # of the paths, first those of lists, then those of rows
    places[many], places[~many] = np.arange(many.sum()), len(listed) + np.flatnonzero((own == 0) & (counts > 0))
    return pa.concat_arrays([listed, first]).take(pa.array(places)), counts


def encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Each distinct text once, in order of first use, and for each row its index: little beside the texts."""
    return column.dictionary_encode().combine_chunks()
