"""Rows that others released are found in a pool by what they say, or by their number in its file."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.methods.check import pool_of
from selectmm.methods.from_file import FromIndices
from selectmm.pool.llava_json import open_llava_json
from tests.methods.files import select, written

LISTED = pool_of(
    [("a", "what?", "a/1.png"), ("a", "why?", None), ("a", "what?", "a/1.png"), ("a", "where?", "a/2.png")]
)


def llava_row(question: str, image: str | None, **more: object) -> dict[str, object]:
    mark, shown = ("<image>\n", {"image": image}) if image else ("", {})
    said = [{"from": "human", "value": mark + question}, {"from": "gpt", "value": "answer"}]
    return {"id": "7", **shown, "conversations": said, **more}


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_rows_that_others_released_are_found_by_what_they_say(tmp_path: Path, name: str) -> None:
    """VisNec's and PreSel's lists are rows in LLaVA's JSON, with fields of their own. The pool has one twice."""
    rows = [llava_row("where?", "a/2.png", unique_idx=3), *[llava_row("what?", "a/1.png", visnec=0.25)] * 3]
    content = "\n".join(map(json.dumps, rows)).encode() if name.endswith("l") else rows
    assert select(FromIndices(written(tmp_path, content, name)), LISTED).rows.tolist() == [0, 0, 2, 3]


def test_released_rows_that_differ_in_a_later_image_or_its_place_are_not_confused(tmp_path: Path) -> None:
    rows = [
        {**llava_row("<image>which?", "1.png"), "image": ["1.png", "2.png"]},
        {**llava_row("<image>which?", "1.png"), "image": ["1.png", "3.png"]},
        {**llava_row("which <image>?", "1.png"), "image": ["1.png", "3.png"]},
        {**llava_row("which ?", None), "image": ["1.png", "3.png"]},
    ]
    for name in ("1.png", "2.png", "3.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    pool = open_llava_json(written(tmp_path, rows, "pool.json"), str(tmp_path), "stop", tmp_path / "cache")
    for position, row in enumerate(rows):
        assert select(FromIndices(written(tmp_path, [row])), pool).rows.tolist() == [position]


def test_a_released_row_that_the_pool_lacks_is_named_or_counted(tmp_path: Path) -> None:
    file = written(tmp_path, [llava_row("why?", None), llava_row("when?", None), llava_row("why?", "a/1.png")])
    said = (
        r"2 of its 3 rows are not in the pool, the first of them row 1 \({.*'when\?'.*\); choose the pool that the list"
    )
    with pytest.raises(UserError, match=said):
        select(FromIndices(file), LISTED)
    left = select(FromIndices(file, missing="leave_out"), LISTED)
    assert left.rows.tolist() == [1] and left.excluded == {"in the list, not in the pool": 2}
    with pytest.raises(UserError, match="1 of its 1 rows are not in the pool"):
        select(FromIndices(written(tmp_path, [llava_row("when?", None)]), missing="leave_out"), LISTED)
    with pytest.raises(UserError, match=r"lists a row 1 that has no list 'conversations'"):
        select(FromIndices(written(tmp_path, [llava_row("why?", None), {"id": "8"}])), LISTED)


@pytest.mark.parametrize("text", ["3\n0\n", "[3, 0]"])
def test_a_text_of_numbers_as_icons_writes_it(tmp_path: Path, text: str) -> None:
    assert select(FromIndices(written(tmp_path, text.encode(), "rows.txt"))).rows.tolist() == [0, 3]
    with pytest.raises(UserError, match=r"neither JSON nor a plain \.npy array"):
        select(FromIndices(written(tmp_path, b"3\nx\n", "rows.txt")))


def test_numbers_count_among_the_pool_s_rows_or_in_its_file(tmp_path: Path) -> None:
    """Without row 1 of the file, number 3 of a list made for the file is position 2 of the pool."""
    left = LISTED.without([1], "less")
    file = written(tmp_path, np.array([3, 0]), "rows.npy")
    assert select(FromIndices(file, count="file"), left).rows.tolist() == [0, 2]
    assert select(FromIndices(file, count="file"), LISTED).rows.tolist() == [0, 3]
    more = written(tmp_path, [0, 1, 3])
    with pytest.raises(UserError, match="lists row 1, which the pool does not have"):
        select(FromIndices(more, count="file"), left)
    found = select(FromIndices(more, count="file", missing="leave_out"), left)
    assert found.rows.tolist() == [0, 2] and found.excluded == {"in the list, not in the pool": 1}
    with pytest.raises(UserError, match="lists no row of the pool: it was made for another file, or counts from 1"):
        select(FromIndices(written(tmp_path, [9]), count="file", missing="leave_out"), left)


def test_blank_lines_are_no_rows_of_a_file(tmp_path: Path) -> None:
    """Rows 0 to 6; row 2 cannot be read, and row 3 is left out: both count, and the blank lines around them do not."""
    rows = [json.dumps(llava_row(f"{number}?", "1.png")) for number in range(7)]
    rows[2], rows[3] = "{", json.dumps(llava_row("3?", None))
    Image.new("RGB", (4, 4)).save(tmp_path / "1.png")
    texts = {
        "blank.jsonl": "\n \n{}\n{}\n\n{}\n\n{}\n{}\n{}\n\n\n{}\n\n".format(*rows),
        "plain.jsonl": "\n".join(rows),
    }
    for name, text in texts.items():
        file = written(tmp_path, text.encode(), name)
        pool = open_llava_json(file, str(tmp_path), "drop", tmp_path / "cache", text_only="leave_out")
        for number, position in ((0, 0), (1, 1), (4, 2), (5, 3), (6, 4)):
            chosen = select(FromIndices(written(tmp_path, [number]), count="file"), pool)
            assert chosen.rows.tolist() == [position] and pool[position].turns[0].text == f"{number}?"
        for number in (-1, 2, 3, 7):
            with pytest.raises(UserError, match=r"lists line \S+, which the pool does not have"):
                select(FromIndices(written(tmp_path, [number]), count="file"), pool)
