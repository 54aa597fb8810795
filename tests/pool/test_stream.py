"""Rows of JSON and JSONL one at a time: the same as json.load gives, whatever the window, and words for what is bad."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selectmm.errors import UserError
from selectmm.pool import stream
from selectmm.pool.stream import json_rows

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3) | VALUES, min_size=1, max_size=6)
EASY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(folder: Path, text: str, name: str = "rows.json") -> list[object]:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return [row for _, row in json_rows(path)]


@EASY
@given(rows=ROWS, window=st.integers(1, 40), ascii=st.booleans(), indent=st.sampled_from([None, 0, 2]))
def test_a_list_is_read_as_json_reads_it(
    tmp_path: Path, rows: list[object], window: int, ascii: bool, indent: int | None
) -> None:
    text = json.dumps(rows, ensure_ascii=ascii, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "WINDOW", window)
        assert read(tmp_path, text) == json.loads(text)


@EASY
@given(rows=ROWS, window=st.integers(1, 40), data=st.data())
def test_a_list_that_is_cut_anywhere_is_refused(
    tmp_path: Path, rows: list[object], window: int, data: st.DataObject
) -> None:
    text = json.dumps(rows)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(UserError, match=r"rows\.json (is not JSON|holds no list)"),
    ):
        patch.setattr(stream, "WINDOW", window)
        read(tmp_path, text[: data.draw(st.integers(0, len(text) - 1))])


@EASY
@given(rows=ROWS)
def test_lines_are_read_as_json_reads_them(tmp_path: Path, rows: list[object]) -> None:
    text = "\n".join(json.dumps(row) for row in rows)
    assert read(tmp_path, text, "rows.jsonl") == rows


def test_a_byte_order_mark_and_blank_lines_do_not_matter(tmp_path: Path) -> None:
    assert read(tmp_path, '\ufeff[{"a": 1}]') == [{"a": 1}]
    assert read(tmp_path, '\ufeff{"a": 1}\r\n\r\n{"b": 2}\n', "rows.jsonl") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[{"a": 1}, {"a": ]}, {"a": 2}]', r"Row 1 of .*rows\.json is not JSON \(Expecting value\)"),
        ('[{"a": 1}, {"a": 2}', r"Row 2 of .* \(there is no comma or end of the list after the row before it\)"),
        ('[{"a": 1} {"a": 2}]', r"Row 1 of .* \(there is no comma or end of the list"),
        ('[{"a": 1}, {"a": "2', r"Row 1 of .* \(the file ends in the middle of it\); fix it there, or download"),
        ('[{"a": 1},', r"Row 1 of .* \(the file ends before it\)"),
        ('[{"a": 1}]]', r"is not JSON \(something follows the end of its list\)"),
        ('{"a": 1}\n{"a": 2}', r"holds no list of rows: .* row on each line, name it rows\.jsonl; if the list"),
        ("", "holds no list of rows: it is empty; name a file with rows"),
        ("[]", "holds no list of rows: its list is empty"),
    ],
)
def test_a_bad_list_is_named_with_its_first_bad_row(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(tmp_path, text)


def test_a_bad_line_is_named_by_its_number(tmp_path: Path) -> None:
    read(tmp_path, '{"a": 1}\n\n{"a": \n{"a": 2}\n', "rows.jsonl")
    (_, first), (number, bad), (_, last) = json_rows(tmp_path / "rows.jsonl")
    assert (first, number, last) == ({"a": 1}, 3, {"a": 2})
    assert re.match(r"is not JSON \(.*\): .*; fix or remove it", str(bad)) and bad.reason == "broken JSON"
    with pytest.raises(UserError, match=r"rows\.jsonl holds no rows"):
        read(tmp_path, "\n", "rows.jsonl")


def test_text_of_another_encoding_and_rows_without_end_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.json"
    path.write_bytes('[{"a": "é"}]'.encode("latin-1"))
    with pytest.raises(UserError, match=r"rows\.json is not UTF-8 text"):
        list(json_rows(path))
    monkeypatch.setattr(stream, "WINDOW", 8)
    monkeypatch.setattr(stream, "LONGEST", 64)
    with pytest.raises(UserError, match=r"Row 0 of .* \(it has no end within 64 characters\)"):
        read(tmp_path, '[{"a": "' + "x" * 500)


def test_a_table_is_not_told_to_take_another_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows\.csv is neither JSON nor JSONL, which this pool reads; save a table as"):
        read(tmp_path, "image,question\n1.png,What?\n", "rows.csv")
    with pytest.raises(UserError, match=r"rows\.tsv is neither"):
        read(tmp_path, "", "rows.tsv")
