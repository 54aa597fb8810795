"""The subset file: read back as written, refused for another pool, honest about what was kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from selectmm.errors import UserError
from selectmm.methods.check import invented_pool, pool_of
from selectmm.methods.subset import Subset, load_subset, save_subset
from selectmm.pool.pool import Pool


def test_a_subset_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    pool = invented_pool(9)
    scores = np.array([0.5, np.nan, 0.25, *range(6)])
    subset = Subset(np.array([4, 2, 2]), scores, {"too long": 1})
    save_subset(subset, pool, tmp_path)
    again = load_subset(tmp_path / "subset.json", pool)
    assert again.rows.tolist() == [2, 2, 4]
    np.testing.assert_array_equal(again.scores, scores)
    assert (again.excluded, again.fingerprint) == ({"too long": 1}, subset.fingerprint)


@pytest.mark.parametrize("rows", [np.array([True, False]), np.array([0.0, 1.5]), np.array([[0, 1]]), np.array(["0"])])
def test_rows_that_are_no_positions_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(
        UserError, match=r"A subset's rows are positions in the pool.* np.flatnonzero makes positions of"
    ):
        Subset(rows)


def test_an_empty_list_of_rows_is_a_subset() -> None:
    assert Subset([]).rows.dtype == np.int64 and len(Subset(np.array([])).rows) == 0


def test_a_subset_of_another_pool_is_refused(tmp_path: Path) -> None:
    pool = invented_pool(9)
    save_subset(Subset(np.array([1])), pool, tmp_path)
    other = Pool(pool.table, pool.image_root, "changed")
    with pytest.raises(UserError, match="was made from pool invented, but the pool here is changed"):
        load_subset(tmp_path / "subset.json", other)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("[1, 9]", "lists other rows than 0 to 8: it was changed"),
        ("[-1]", "lists other rows than 0 to 8"),
        ("[0.5]", "lists other rows than 0 to 8"),
        ("[[1]]", "lists other rows than 0 to 8"),
        ('"all"', "lists other rows than 0 to 8"),
        ("[0, true]", "lists other rows than 0 to 8"),
        ("[0, [1, 2]]", "lists other rows than 0 to 8"),
        (f"[{10**30}]", "lists other rows than 0 to 8"),
        ("[NaN]", "lists other rows than 0 to 8"),
        ("null", "lists other rows than 0 to 8"),
        ("[" * 100_000, "is not JSON"),
        ("[", "is not JSON"),
    ],
)
def test_a_subset_that_somebody_touched_is_refused(rows: str, said: str, tmp_path: Path) -> None:
    text = f'{{"pool": "invented", "excluded": {{}}, "rows": {rows}}}'
    (tmp_path / "subset.json").write_text(text)
    with pytest.raises(UserError, match=said):
        load_subset(tmp_path / "subset.json", invented_pool(9))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"excluded": ["why"]},
            r"is not a subset that this project wrote \(field 'excluded' is \['why'\], not an object",
        ),
        ({"excluded": {"why": 1.5}}, "field 'excluded.why' is 1.5, not a whole number"),
        ({"excluded": {"\x1b[31m": 1}}, r"holds the character '\\x1b', which is not printable text"),
        ({"pool": ["invented"]}, r"field 'pool' is \['invented'\], not a text"),
        ({"pool": "\x1b[31m"}, r"was made from pool \\x1b\[31m, but the pool here is invented"),
    ],
)
def test_what_else_a_subset_says_is_looked_at(change: dict[str, object], said: str, tmp_path: Path) -> None:
    content = {"pool": "invented", "excluded": {}, "rows": [1], **change}
    (tmp_path / "subset.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=said):
        load_subset(tmp_path / "subset.json", invented_pool(9))


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (np.zeros(8), "one number per row"),
        (np.zeros((9, 1)), "one number"),
        (np.array([None] * 9), "no plain .npy array"),
        (np.zeros(9, complex), "no plain .npy array .it holds complex128"),
        (np.zeros(9, int), "one number per row"),
    ],
)
def test_scores_that_somebody_touched_are_refused(scores: np.ndarray, said: str, tmp_path: Path) -> None:
    pool = invented_pool(9)
    save_subset(Subset(np.array([1])), pool, tmp_path)
    np.save(tmp_path / "scores.npy", scores)
    with pytest.raises(UserError, match=said):
        load_subset(tmp_path / "subset.json", pool)


def test_no_file_and_no_rows_are_two_things(tmp_path: Path) -> None:
    pool = invented_pool(9)
    with pytest.raises(UserError, match=r"There is no subset\.json in .*; give the folder of a subset"):
        load_subset(tmp_path / "subset.json", pool)
    save_subset(Subset(np.array([], int)), pool, tmp_path)
    assert len(load_subset(tmp_path / "subset.json", pool).rows) == 0


def test_coverage_counts_rows_by_source() -> None:
    pool = pool_of([("a", "1", "x.png"), ("a", "2", "x.png"), ("b", "3", None)])
    coverage = Subset(np.array([0, 2, 2]), np.array([1.0, 2.0, np.nan])).coverage(pool)
    assert coverage == {
        "rows": 3,
        "scored": 2,
        "without_image": 1,
        "kept": 3,
        "kept_distinct": 2,
        "excluded": {},
        "per_source": {
            "a": {"pool": 2, "scored": 2, "without_image": 0, "kept": 1},
            "b": {"pool": 1, "scored": 0, "without_image": 1, "kept": 2},
        },
    }
