"""A pool on disk: one Arrow file that is memory-mapped, so that its size does not matter."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pyarrow as pa

from selectmm.pool.pool import SCHEMA, Pool

ROWS_PER_BATCH = 10_000
WRITTEN = SCHEMA.append(pa.field("id", pa.string())).append(pa.field("image_turn", pa.int32()))


def write_arrow(path: Path, rows: Iterable[dict[str, object]]) -> None:
    """Write rows (see `WRITTEN`) in batches, so that memory does not grow with their number."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, WRITTEN) as writer:
        stream = iter(rows)
        while batch := list(islice(stream, ROWS_PER_BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, WRITTEN))


def open_arrow(path: Path, image_root: Path, fingerprint: str) -> Pool:
    """Map a file written by `write_arrow`."""
    return Pool(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), image_root, fingerprint)
