"""A run that leaves out a row which its model cannot take: its record says so, and its subset is found again."""

import json
from pathlib import Path

import pytest

from selectmm.commands.export import main
from selectmm.errors import UserError
from selectmm.records.files import load
from tests.export.recorded import recorded_run
from tests.tiny import tiny_llava, write_pool


def test_a_row_that_the_model_cannot_take_is_dropped_counted_and_stays_out_of_exports(tmp_path: Path) -> None:
    file, _ = write_pool(tmp_path / "pool", rows=8)
    rows = json.loads(file.read_text())
    rows[1]["conversations"] = [  # its image stands behind 300 words, and the limit is 200 tokens
        {"from": "human", "value": "word " * 300},
        {"from": "gpt", "value": "Yes."},
        {"from": "human", "value": "<image>Which shape is it?"},
        {"from": "gpt", "value": "A circle."},
    ]
    file.write_text(json.dumps(rows))
    tiny_llava(tmp_path / "base")
    choices = ["method=full", "budget=1", "recipe.max_length=200"]
    with pytest.raises(
        UserError, match=r"1 row with an image that recipe\.max_length would cut \(first: row 1 \(id '1'"
    ):
        recorded_run(tmp_path, *choices)
    record = recorded_run(tmp_path, *choices, "pool.bad_rows=drop")
    assert load(record).pool.rows == 7
    expected = "1 rows of the pool were dropped with an image that recipe.max_length would cut."
    assert expected in load(record).deviations
    main(["subset", "--record", str(record), "--yes", "--format", "llava", "--to", str(tmp_path / "out")])
    exported = json.loads((tmp_path / "out" / "subset.json").read_text())
    assert [row["id"] for row in exported] == ["0", "2", "3", "4", "5", "6", "7"]
