"""A key of each row of a file is a score, as Data-Juicer writes its statistics."""

import json
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.methods.from_file import FromScores
from tests.methods.files import select, written

# What Data-Juicer 1.6.1 writes beside its output: a number per row, and one for each of its images.
STATS = [{"__dj__stats__": {"text_len": 10 - n, "aspect_ratios": [0.5 + n] if n % 3 else []}} for n in range(9)]


@pytest.mark.parametrize("name", ["stats.jsonl", "stats.json"])
def test_a_key_of_each_row_is_a_score(tmp_path: Path, name: str) -> None:
    content = "\n".join(map(json.dumps, STATS)).encode() if name.endswith("l") else STATS
    file = written(tmp_path, content, name)
    assert select(FromScores(file, key="__dj__stats__.text_len"), budget=2).rows.tolist() == [0, 1]
    ratios = select(FromScores(file, key="__dj__stats__.aspect_ratios"), budget=2)
    assert ratios.rows.tolist() == [7, 8] and ratios.excluded == {"no score in the file": 3}
    first = select(FromScores(file, key="__dj__stats__.aspect_ratios.0", keep="low"), budget=1)
    assert first.rows.tolist() == [1]


@pytest.mark.parametrize(
    ("row", "key", "said"),
    [
        ({"a": {"b": 1}}, "a.c", r"there is no 'c' in row 0 of .*, a has: 'b'\."),
        ({"a": 1}, "a.b", r"there is no 'b' in row 0 of .*, a is 1\."),
        ({"a": 1}, "b", r"there is no 'b' in row 0 of .*, which has: 'a'\."),
        ({"a": [1, 2]}, "a", r"row 0 of .* has 2 values there; name one, as in method\.key=a\.0\."),
        ({"a": "1"}, "a", r"row 0 of .* has '1' there, which is no number\."),
        ({"a": True}, "a", r"has True there, which is no number\."),
        (7, "a", r"there is no 'a' in row 0 of .*, which is 7\."),
    ],
)
def test_a_key_that_gives_no_number_is_named(tmp_path: Path, row: object, key: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        select(FromScores(written(tmp_path, [row] * 9), key=key))


def test_a_file_of_objects_asks_for_the_key_and_a_broken_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no list of numbers \(row 0 has .*\); name the number by method\.key\."):
        select(FromScores(written(tmp_path, STATS)))
    with pytest.raises(UserError, match=r"is no list of objects, so method\.key=a names nothing in it"):
        select(FromScores(written(tmp_path, {"a": 1}), key="a"))
    with pytest.raises(UserError, match=r"Line 2 of .*stats\.jsonl is not JSON"):
        select(FromScores(written(tmp_path, b'{"a": 1}\n{"a"\n', "stats.jsonl"), key="a"))
