"""More text than one Arrow array can hold (2 GiB), without the memory for it: its chunks are the same 32 MB."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from selectmm.pool import arrow
from selectmm.pool.arrow import open_arrow, write_blocks, write_table
from selectmm.pool.pool import Pool
from selectmm.pool.row import Row
from selectmm.pool.sample import Shown, Turn
from selectmm.pool.table import SCHEMA, TAKEN_AT_ONCE, taken
from selectmm.tuning.job import Job, Task, read_rows, write_rows
from selectmm.tuning.plan import lengths_of
from tests.tuning.conftest import RECIPE, SINGLE

ROWS, CHUNKS = 8_192, 72
TEXT = "x" * 4_000


def large_pool() -> Pool:
    kind = SCHEMA.field("turns").type
    said = [pa.array(["user"] * ROWS), pa.array([TEXT] * ROWS), pa.nulls(ROWS, pa.bool_())]
    words = pa.StructArray.from_arrays(said, fields=list(kind.value_type))
    turns = pa.ListArray.from_arrays(np.arange(ROWS + 1, dtype=np.int32), words, kind)
    none = pa.nulls(ROWS, pa.string())
    chunk = pa.RecordBatch.from_arrays(
        [pa.array([f"{row:032x}" for row in range(ROWS)]), none, none, turns], schema=SCHEMA
    )
    return Pool(pa.Table.from_batches([chunk] * CHUNKS), Path(), "large")


def test_rows_are_taken_and_written_from_more_than_two_gib_of_text(tmp_path: Path) -> None:
    pool = large_pool()
    assert len(pool) * len(TEXT) > 2**31
    rows = np.array([len(pool) - 1, 0, ROWS, 0, len(pool) - 2])
    assert taken(pool.table, rows)["place"].to_pylist() == rows.tolist()
    write_rows(tmp_path, pool, rows)
    read = read_rows(tmp_path, Job(Task(RECIPE, SINGLE, 1, 0), {}, ""))
    assert [read[row].digest for row in range(5)] == [f"{row % ROWS:032x}" for row in rows]
    assert lengths_of(pool, rows).tolist() == [len(TEXT)] * 5
    assert open_arrow(tmp_path / "rows.arrow", Path(), "").table["place"].to_pylist() == rows.tolist()


def test_a_batch_ends_before_its_texts_are_more_than_an_array_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 GiB; with the limit at 100 characters, which a path counts in, too."""
    monkeypatch.setattr(arrow, "TEXT_PER_BATCH", 100)
    texts = ["x" * length for length in (30, 60, 20, 300, 1, 1, 1)]
    rows = [Row("s", (Turn("user", text), Turn("assistant", "A")), (Shown("a/1.png"),)) for text in texts]
    arrow.write_arrow(tmp_path / "rows.arrow", [(place, f"{place}", row) for place, row in enumerate(rows)])
    with pa.ipc.open_file(str(tmp_path / "rows.arrow")) as file:
        assert [file.get_batch(n).num_rows for n in range(file.num_record_batches)] == [2, 2, 3]
    pool = open_arrow(tmp_path / "rows.arrow", Path(), "")
    assert [pool[row].turns[0].text for row in range(7)] == texts


def test_rows_are_written_in_place_of_a_link(tmp_path: Path) -> None:
    """Others may be able to write to the folder of a stage."""
    (tmp_path / "mine").write_text("content")
    for write in (write_table, lambda path, table: write_blocks(path, [table])):
        (tmp_path / "rows.arrow").unlink(missing_ok=True)
        (tmp_path / "rows.arrow").symlink_to(tmp_path / "mine")
        write(tmp_path / "rows.arrow", SCHEMA.empty_table())
        assert not (tmp_path / "rows.arrow").is_symlink() and (tmp_path / "mine").read_text() == "content"


def test_rows_are_taken_in_their_order_across_blocks() -> None:
    digests = [f"{row:032x}" for row in range(3 * TAKEN_AT_ONCE // 2)]
    empty = pa.nulls(len(digests), SCHEMA.field("turns").type)
    none = pa.nulls(len(digests), pa.string())
    whole = pa.Table.from_arrays([pa.array(digests), none, none, empty], schema=SCHEMA)
    table = pa.concat_tables([whole.slice(0, 5000), whole.slice(5000)])
    rows = np.random.default_rng(0).permutation(len(digests))
    assert taken(table, rows)["digest"].to_pylist() == [digests[row] for row in rows]
    assert taken(table, rows[:0]).num_rows == 0
