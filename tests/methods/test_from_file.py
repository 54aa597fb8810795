"""Files made elsewhere: what is read, and what is said of a file that cannot be."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selectmm.cache.cost import measure
from selectmm.errors import UserError
from selectmm.methods.check import pool_of
from selectmm.methods.content import by_content
from selectmm.methods.from_file import FromIndices, FromScores
from selectmm.methods.full import Full
from selectmm.methods.subset import Subset, save_subset
from selectmm.pool.pool import Pool
from tests.bad_input import examples
from tests.methods.files import POOL, select, written


def test_full_keeps_everything_whatever_the_budget() -> None:
    assert select(Full(), budget=1).rows.tolist() == list(range(9))


@pytest.mark.parametrize("listed", [[5, 0, 5, 8], np.array([8, 5, 5, 0]), np.array([0, 5, 5, 8], np.uint8)])
def test_rows_are_kept_as_listed_twice_if_listed_twice(tmp_path: Path, listed: object) -> None:
    name = "rows.npy" if isinstance(listed, np.ndarray) else "rows.json"
    assert select(FromIndices(written(tmp_path, listed, name)), budget=1).rows.tolist() == [0, 5, 5, 8]


def test_a_subset_file_of_ours_comes_back_with_its_scores(tmp_path: Path) -> None:
    save_subset(Subset(np.array([2, 7]), np.arange(9.0), {"why": 1}), POOL, tmp_path)
    again = select(FromIndices(str(tmp_path / "subset.json")))
    assert again.rows.tolist() == [2, 7] and again.scores.tolist() == list(range(9)) and again.excluded == {"why": 1}


def test_a_subset_of_another_pool_is_refused(tmp_path: Path) -> None:
    save_subset(Subset(np.array([1])), Pool(POOL.table, POOL.image_root, "other"), tmp_path)
    with pytest.raises(UserError, match="was made from pool other, but the pool here is invented"):
        select(FromIndices(str(tmp_path / "subset.json")))


@pytest.mark.parametrize("kind", [FromIndices, FromScores])
def test_a_file_that_is_not_there_is_said_before_anything_starts(tmp_path: Path, kind: type[FromIndices]) -> None:
    with pytest.raises(UserError, match=r"nowhere\.json cannot be read \(No such file.*\); set method\.file"):
        kind(str(tmp_path / "nowhere.json"))
    with pytest.raises(UserError, match="cannot be read"):
        kind(str(tmp_path))


class Trap:
    """Its pickle would write a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("kind", [FromIndices, FromScores])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, kind: type[FromIndices]) -> None:
    mark = tmp_path / "ran"
    file = written(tmp_path, np.array([Trap(mark)], dtype=object), "trap.npy")
    with pytest.raises(UserError, match=r"neither JSON nor a plain \.npy array"):
        select(kind(file))
    assert not mark.exists()


@pytest.mark.parametrize("kind", [FromIndices, FromScores])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b"[1, 2"), ("a.json", b"\xff\xfe"), ("a.json", b""), ("a.npy", b"[1, 2]"), ("a.npy", b"")],
)
def test_a_broken_file_is_refused_in_one_sentence(
    tmp_path: Path, kind: type[FromIndices], name: str, content: bytes
) -> None:
    with pytest.raises(UserError, match=r"neither JSON nor a plain \.npy array"):
        select(kind(written(tmp_path, content, name)))


@pytest.mark.parametrize(
    "content",
    [[], 3, "0", None, [0.0, 1.0], ["0"], [[0, 1]], [[0], [1, 2]], [True, False], [0, True], [0, None], [10**30]],
)
def test_what_is_no_list_of_positions_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match=r"is no list of row positions; give whole numbers such as \[0, 5, 17\]"):
        select(FromIndices(written(tmp_path, content)))


@pytest.mark.parametrize("row", [9, -1, 2**62])
def test_a_position_outside_the_pool_is_named(tmp_path: Path, row: int) -> None:
    with pytest.raises(UserError, match=rf"lists row {row}, but the pool has rows 0 to 8: .*counts from 1"):
        select(FromIndices(written(tmp_path, [0, row])))


def test_a_position_that_no_signed_number_holds_is_named_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lists row 18446744073709551615, but the pool has rows 0 to 8"):
        select(FromIndices(written(tmp_path, np.array([0, 2**64 - 1], np.uint64), "rows.npy")))


@pytest.mark.parametrize("content", [{}, {"rows": [1]}, {"pool": "invented", "rows": [1]}])
def test_a_json_that_is_no_subset_of_ours_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match="is not a subset that this project wrote; it needs pool, rows and excluded"):
        select(FromIndices(written(tmp_path, content)))


@pytest.mark.parametrize(("keep", "rows"), [("high", [6, 7, 8]), ("low", [1, 2, 3]), ("medium", [3, 4, 5])])
@pytest.mark.parametrize("name", ["scores.json", "scores.npy"])
def test_scores_rank_rows_and_a_row_without_comes_last(tmp_path: Path, name: str, keep: str, rows: list[int]) -> None:
    scores: list[float | None] = [None, *range(1, 9)]
    content = np.array(scores, float) if name.endswith("npy") else scores
    method = FromScores(written(tmp_path, content, name), keep=keep)
    subset = select(method, budget=3)
    assert subset.rows.tolist() == rows
    assert subset.excluded == {"no score in the file": 1}
    assert select(method, budget=8).rows.tolist() == list(range(1, 9))
    assert select(method, budget=9).rows.tolist() == list(range(9))


@pytest.mark.parametrize(("content", "shape"), [([1.0] * 8, "8"), (3.0, "one"), (np.ones((9, 2)), "9 × 2"), ([], "0")])
def test_scores_of_another_length_are_refused(tmp_path: Path, content: object, shape: str) -> None:
    name = "a.npy" if isinstance(content, np.ndarray) else "a.json"
    with pytest.raises(UserError, match=f"holds {shape} scores, the pool has 9 rows: give one per row"):
        select(FromScores(written(tmp_path, content, name)))


@pytest.mark.parametrize(
    "content",
    [{"a": 1}, ["a"] * 9, [[1], [1, 2]], ["1.5"] * 9, [True] * 9, [10**400] * 9, [["\ud800"]] * 9, "7", {"\ud800": 1}],
)
def test_what_is_no_list_of_numbers_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match="is no list of numbers"):
        select(FromScores(written(tmp_path, content)))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([float("nan")] * 9, "holds no score at all: every row has null or NaN; give numbers"),
        ([None] * 9, "holds no score at all"),
        (np.full(9, np.nan), "holds no score at all"),
        ([1.0] * 8 + [float("-inf")], "gives row 8 an infinite score; give a number, or null to leave it for last"),
        (np.array([1.0, np.inf, *range(7)]), "gives row 1 an infinite score"),
        (np.ones(9, complex), "neither JSON nor a plain .npy array of numbers .it holds complex128, not whole or"),
        (np.ones(9, bool), "it holds bool, not whole or floating numbers"),
        (np.array(["1.5"] * 9), "it holds str96, not whole or floating numbers"),
        (np.zeros(9, "M8[s]"), "it holds datetime64.s., not whole or floating numbers"),
        (np.zeros(9, [("a", float)]), "not whole or floating numbers"),
        (b"[" * 100_000, "neither JSON nor a plain .npy array of numbers .maximum recursion"),
    ],
)
def test_scores_that_rank_nothing_are_refused(tmp_path: Path, content: object, said: str) -> None:
    name = "a.npy" if isinstance(content, np.ndarray) else "a.json"
    with pytest.raises(UserError, match=said):
        select(FromScores(written(tmp_path, content, name)))


@pytest.mark.parametrize("shape", [(10**13,), (10**7, 10**6), (2**62, 2**62), (-1,), (10,)])
def test_an_array_that_claims_more_than_its_file_holds_takes_no_memory(tmp_path: Path, shape: tuple[int, ...]) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
    file = written(tmp_path, stream.getvalue() + bytes(72), "a.npy")
    for method in (FromScores(file), FromIndices(file)):
        with pytest.raises(UserError, match=r"it claims -?\d+.* numbers, and has not that many bytes"):
            select(method)


@examples(150)
@given(st.data())
def test_any_file_is_a_choice_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever JSON holds, and a good array with some bytes exchanged or cut off."""
    json_value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
        lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=12,
    )
    file = tmp_path_factory.mktemp("fuzz") / data.draw(st.sampled_from(["a.json", "a.npy"]))
    if file.suffix == ".json":
        rows = st.lists(st.integers(-1, 9), max_size=9)
        entry = {"pool": st.just("invented"), "rows": rows | json_value, "excluded": st.just({}) | json_value}
        file.write_text(
            json.dumps(data.draw(json_value | st.lists(st.floats(), max_size=9) | st.fixed_dictionaries(entry)))
        )
    else:
        stream = io.BytesIO()
        np.save(stream, np.arange(9.0))
        content = bytearray(stream.getvalue())
        for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
        file.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for kind in (FromIndices, FromScores):
        try:
            rows = select(kind(str(file))).rows
            assert len(rows) == 0 or 0 <= rows.min() <= rows.max() < 9
        except UserError:
            pass


def test_a_changed_file_is_another_method(tmp_path: Path) -> None:
    """Or a cache would give back the subset of the old content."""
    before = FromScores(written(tmp_path, [1.0]))
    assert before == FromScores(str(tmp_path / "file.json"))
    assert before != FromScores(written(tmp_path, [2.0]))


def test_ties_are_broken_by_what_rows_say(tmp_path: Path) -> None:
    pool = pool_of([("a", str(i), None) for i in range(4)])
    first = [row for row in by_content(pool).tolist() if row != 0][:2]
    assert select(FromScores(written(tmp_path, [1, 2, 2, 2])), pool, 2).rows.tolist() == sorted(first)


def test_what_making_the_file_took_is_charged_to_the_selection(tmp_path: Path) -> None:
    file = written(tmp_path, [1.0] * 9)
    with measure(devices=2) as clock:
        before = clock.cost().device_seconds
        select(FromScores(file, device_seconds=360.0))
        after = clock.cost()
    assert before < 60 and 360 <= after.device_seconds < 420 and after.seconds < 60
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match=r"method\.device_seconds=.*: give seconds times devices, 0 or more"):
            FromScores(file, device_seconds=wrong)
