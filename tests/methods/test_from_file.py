"""Files made elsewhere: what is read, and what is said of a file that cannot be."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selectmm.errors import UserError
from selectmm.features.feature import Features
from selectmm.methods.check import invented_pool, pool_of
from selectmm.methods.content import by_content
from selectmm.methods.from_file import FromIndices, FromScores
from selectmm.methods.full import Full
from selectmm.methods.method import Method
from selectmm.methods.subset import Subset, save_subset
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.records.cost import measure
from tests.bad_input import examples

POOL = invented_pool(9)


def select(method: Method, pool: Pool = POOL, budget: int = 4) -> Subset:
    assert method.needs().features == ()
    return method.select(pool, Features({}), budget, np.random.default_rng(0))


def written(folder: Path, content: object, name: str = "file.json") -> str:
    """JSON of anything; bytes and arrays as they are."""
    path = folder / name
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return str(path)


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
