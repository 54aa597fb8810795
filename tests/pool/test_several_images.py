"""Rows that show several images, as each format writes them; and that rows of one image stay what they were."""

import io
import json
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selectmm.errors import UserError
from selectmm.export.subset import export_subset
from selectmm.methods.subset import Subset
from selectmm.pool.doctor import Limit, diagnose
from selectmm.pool.llava_json import open_llava_json, read_llava
from selectmm.pool.parquet import open_parquet
from selectmm.pool.pool import Pool
from selectmm.pool.row import row_of
from selectmm.pool.sample import Shown, Turn
from selectmm.pool.sharegpt import open_sharegpt
from tests.bad_input import examples

COLOURS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    (root / "a").mkdir()
    for number, colour in enumerate(COLOURS):
        Image.new("RGB", (8 + number, 6), colour).save(root / "a" / f"{number}.png")
    return root


def chat(rows: list[object], images: Path, to: Path, bad_rows: str = "stop") -> Pool:
    file = to / "chat.json"
    file.write_text(json.dumps(rows))
    return open_sharegpt(str(file), str(images), bad_rows, str(to / "cache"), "stop", "source")


def llava(rows: list[object], images: Path, to: Path, bad_rows: str = "stop") -> Pool:
    file = to / "llava.json"
    file.write_text(json.dumps(rows))
    return open_llava_json(str(file), str(images), bad_rows, to / "cache")


PATHS = ["a/0.png", "a/1.png", "a/2.png"]
SAID = ["<image>\nCompare <image> with\n<image>\nand tell.", "Done.", "Again?", "No."]
KEPT = "Compare  with\nand tell."  # the line break directly behind a mark belongs to it
PLACES = (Shown("a/0.png", 0, 0, False), Shown("a/1.png", 0, 8, True), Shown("a/2.png", 0, 14, False))
LLAVA = {
    "image": PATHS,
    "conversations": [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(SAID)],
}
SWIFT = {
    "images": PATHS,
    "messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(SAID)],
}


def test_images_stand_where_their_marks_stood_in_every_format(images: Path, tmp_path: Path) -> None:
    pools = [llava([LLAVA], images, tmp_path), chat([SWIFT], images, tmp_path)]
    pq.write_table(pa.Table.from_pylist([SWIFT]), tmp_path / "rows.parquet")
    pools.append(
        open_parquet(str(tmp_path / "rows.parquet"), str(images), "stop", str(tmp_path / "cache"), "stop", "source")
    )
    for pool in pools:
        assert pool[0].images == PLACES and pool[0].turns[0] == Turn("user", KEPT)
        assert (pool[0].image, pool[0].image_turn, pool[0].source) == ("a/0.png", 0, "a")
        turns = [["user", KEPT], ["assistant", "Done."], ["user", "Again?"], ["assistant", "No."]]
        content = ["a", turns, [[*place[:4]] for place in PLACES]]
        assert pool[0].digest == sha256(json.dumps(content).encode()).hexdigest()[:32]


def test_a_turn_with_one_mark_gets_its_image_in_front_and_none_stays_unplaced() -> None:
    turns = [
        Turn("user", " One <image>? "),
        Turn("assistant", "1"),
        Turn("user", "Two?\n<image>"),
        Turn("assistant", "2"),
    ]
    row = row_of(turns, ["a/0.png", "a/1.png"], None, None)
    assert row.images == (Shown("a/0.png", 0), Shown("a/1.png", 2)) and not row.unplaced
    assert [turn.text for turn in row.turns] == ["One ?", "1", "Two?", "2"]
    row = row_of([Turn("user", " What? "), Turn("assistant", "x")], ["a/0.png", "a/1.png"], None, None)
    assert row.images == (Shown("a/0.png"), Shown("a/1.png")) and row.unplaced and row.turns[0].text == " What? "


def test_images_of_a_question_that_is_left_out_go_with_it() -> None:
    turns = [Turn("user", "<image>One?"), Turn("assistant", "1"), Turn("user", "<image>Two?")]
    row = row_of(turns, ["a/0.png", "a/1.png"], None, None)
    assert row.images == (Shown("a/0.png"),) and row.trimmed and len(row.turns) == 2


@pytest.mark.parametrize("mark", ["<image>", "<image><image>", "<video>"])
def test_the_only_image_of_a_question_that_is_left_out_goes_with_it(mark: str) -> None:
    """It is not moved to a question that does not ask about it. So earlier versions had it: the row is another one."""
    clip = mark == "<video>"
    shown = {"images": [] if clip else ["a/0.png"], "videos": ["a/0.mp4"] if clip else []}
    for turns in (
        [Turn("user", "One?"), Turn("assistant", "1"), Turn("user", f"{mark}Two?")],
        [Turn("assistant", f"{mark}Hello"), Turn("user", "One?"), Turn("assistant", "1")],
    ):
        row = row_of(turns, source=None, id=None, **shown)
        assert row.images == () and row.trimmed and not row.unplaced and row.source == "text"
        assert [turn.text for turn in row.turns] == ["One?", "1"] and row.anew is not clip
    asked = [Turn("user", f"{mark}One?"), Turn("assistant", "1"), Turn("user", "Two?")]
    row = row_of(asked, source=None, id=None, **shown)
    assert len(row.images) == 1 and row.trimmed and not row.anew
    row = row_of([Turn("user", "One?"), *asked[1:]], source=None, id=None, **shown)
    assert len(row.images) == 1 and row.unplaced and not row.anew


def parts(*said: str) -> list[dict[str, object]]:
    """A content list: paths of images, and texts."""
    return [
        {"type": "image_url", "image_url": {"url": text}} if text.endswith(".png") else {"type": "text", "text": text}
        for text in said
    ]


def test_content_lists_name_their_images_or_leave_that_to_the_row(images: Path, tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": [{"type": "text", "text": "No."}]}
    said = [{"role": "user", "content": parts("a/0.png", "a/1.png", "Same as ", "a/2.png", "?")}, answer]
    bare = [dict(part, image_url=None, type="image") if "text" not in part else part for part in said[0]["content"]]
    named = [{**part, "type": "image", "image": path} for part, path in zip(bare, PATHS, strict=False)]
    rows = [
        {"messages": said},
        {"messages": said, "images": PATHS},
        {"messages": [{"role": "user", "content": bare}, answer], "images": PATHS},
        {
            "messages": [
                {"role": "user", "content": [*named[:2], bare[2], {**bare[3], "path": PATHS[2]}, bare[4]]},
                answer,
            ]
        },
    ]
    pool = chat(rows, images, tmp_path)
    assert len({pool[row].digest for row in range(4)}) == 1
    assert pool[0].turns == (Turn("user", "Same as ?"), Turn("assistant", "No."))
    assert pool[0].images == (Shown(PATHS[0]), Shown(PATHS[1]), Shown(PATHS[2], 0, 8))
    one = chat([{"messages": [{"role": "user", "content": parts("What?", "a/0.png")}, answer]}], images, tmp_path)
    assert one[0].images == (Shown("a/0.png"),) and one[0].turns[0].text == "What?"


def test_paths_in_some_of_the_parts_are_not_completed_from_the_row(images: Path, tmp_path: Path) -> None:
    said = [{"type": "image", "image": PATHS[0]}, {"type": "image"}, {"type": "text", "text": "?"}]
    row = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": "No."}]}
    for shown in ({}, {"images": PATHS[:2]}):
        with pytest.raises(
            UserError, match=r"has an image part that names no path beside others that do; name a path "
        ):
            chat([{**row, **shown}], images, tmp_path)
    none = {"messages": [{"role": "user", "content": said[1:]}, row["messages"][1]]}
    with pytest.raises(UserError, match=r"has an image part that names no path, and no 'images' that would; name the "):
        chat([none], images, tmp_path)


def test_bytes_in_a_table_become_files_wherever_they_stand(tmp_path: Path) -> None:
    contents = []
    for colour in COLOURS[:2]:
        stream = io.BytesIO()
        Image.new("RGB", (4, 4), colour).save(stream, "PNG")
        contents.append({"bytes": stream.getvalue(), "path": f"a/{colour}.png"})
    answer = {"role": "assistant", "content": [{"type": "text", "text": "No.", "image": None}]}
    shown = [{"type": "image", "text": None, "image": one} for one in contents]
    listed = {"messages": [{"role": "user", "content": [*shown, {"type": "text", "text": "?", "image": None}]}, answer]}
    plain = {
        "messages": [{"role": "user", "content": "<image>\n<image>\n?"}, {"role": "assistant", "content": "No."}],
        "images": contents,
    }
    pools = []
    for number, row in enumerate((listed, plain)):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{number}.parquet")
        file, cache = str(tmp_path / f"{number}.parquet"), str(tmp_path / "cache")
        pools.append(open_parquet(file, None, "stop", cache, "stop", "source"))
    assert pools[0][0].digest == pools[1][0].digest and len(pools[0].images) == 2
    colours = [pools[0].open_image(image.path).getpixel((0, 0)) for image in pools[0][0].images]
    assert colours == [(255, 0, 0), (0, 128, 0)]


def several(pool: Pool) -> list[list[str]]:
    ends, of = pool.shown
    return [[pool.images[image] for image in of[start:end]] for start, end in pairwise(ends)]


def test_a_pool_knows_all_images_of_all_rows_also_when_rows_are_left_out(images: Path, tmp_path: Path) -> None:
    one = {"image": "a/1.png", "conversations": [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "x"}]}
    none = {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": "x"}]}
    two = {
        **LLAVA,
        "image": ["a/2.png", "a/1.png"],
        "conversations": [{"from": "human", "value": "<image><image>?"}, LLAVA["conversations"][1]],
    }
    pool = llava([one, LLAVA, none, two], images, tmp_path)
    assert pool.images == ["a/1.png", "a/0.png", "a/2.png"], "in order of first use"
    assert several(pool) == [["a/1.png"], PATHS, [], ["a/2.png", "a/1.png"]]
    assert pool.image_of.tolist() == [0, 1, -1, 2] and pool.several.tolist() == [1, 3]
    assert pool.showing(np.array([True, False, False])).tolist() == [0, 1, 3]
    assert pool.named_with_images(1) == "row 1, a/0.png and 2 more"
    left = pool.without([0, 1], "left")
    assert several(left) == [[], ["a/2.png", "a/1.png"]] and left.sizes.tolist() == [[10, 6], [9, 6]]
    found = {finding.name: finding for finding in diagnose(pool, None, Limit(), "stop")}
    assert found["several images"].count == 2 and found["several images"].weight == "note"


def test_a_missing_image_among_several_is_named(images: Path, tmp_path: Path) -> None:
    row = {**LLAVA, "image": ["a/0.png", "a/none.png", "a/1.png"]}
    with pytest.raises(UserError, match=r"1 row with a missing image \(first: row 0, a/none\.png\)"):
        llava([row, LLAVA], images, tmp_path)
    assert len(llava([row, LLAVA], images, tmp_path, "drop")) == 1


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (["a/0.png", "a/1.png"], r"has 3 <image> \(in turns \[0\]\) for 2 images; give as many of the one as of the"),
        ([*PATHS, "a/0.png"], r"has 3 <image> \(in turns \[0\]\) for 4 images"),
        (["a/0.png"] * 1000, "has 1,000 images, and at most 256 of a row are read; split the row"),
        (["a/0.png", "a/1.png", "../2.png"], "has an image path that leaves the image folder: '../2.png'"),
        (["a/0.png", "a/1.png", "/etc/passwd"], "has an image path that leaves the image folder"),
        (["a/0.png", "a/1.png", "http://x/2.png"], "has an address as its image"),
        (["a/0.png", "a/1.png", 7], "has an 'image' that is no path: 7"),
        (["a/0.png", "a/1.png", ""], "has an 'image' that is no path: ''"),
    ],
)
def test_what_several_images_cannot_be_is_one_sentence(
    paths: list[object], said: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"1 row with .* \(first: Row 0 of .*{said}"):
        llava([{**LLAVA, "image": paths}, LLAVA], images, tmp_path)


@examples(60)
@given(st.lists(st.tuples(st.text("a\n <", max_size=4), st.integers(0, 3)), min_size=1, max_size=4))
def test_marks_put_back_give_the_same_row(said: list[tuple[str, int]]) -> None:
    """Whatever the texts: each image comes back to its place, and no other character is lost but blanks at the ends."""
    texts = ["<image>".join([text] * (marks + 1)) for text, marks in said]
    count = sum(text.count("<image>") for text in texts)
    turns = [turn for text in texts for turn in (Turn("user", text), Turn("assistant", "x"))]
    row = row_of(turns, [f"a/{n}.png" for n in range(count)], None, None)
    assert [image.path for image in row.images] == [f"a/{n}.png" for n in range(count)]
    for place, text in enumerate(texts):
        turn, shown = row.turns[2 * place], [image for image in row.images if image.turn == 2 * place]
        back = turn.text
        for image in reversed(shown):
            back = back[: image.at] + ("<image>" if image.inline else "<image>\n") + back[image.at :]
        if len(shown) > 1:
            assert back == text
        elif shown:
            assert back == "<image>\n" + text.replace("<image>", "").strip()
        elif count:
            assert back == text


@pytest.mark.parametrize("name", ["llava", "ms_swift"])
def test_an_exported_row_shows_its_images_where_they_were(name: str, images: Path, tmp_path: Path) -> None:
    rows = [
        LLAVA,
        {
            **LLAVA,
            "image": PATHS[:2],
            "conversations": [
                {"from": "human", "value": "<image>\nOne?"},
                {"from": "gpt", "value": "1"},
                {"from": "human", "value": "<image>Two?"},
                {"from": "gpt", "value": "2"},
            ],
        },
    ]
    pool = llava(rows, images, tmp_path)
    export_subset(pool, Subset(np.arange(2)), name, tmp_path / "out")
    if name == "llava":
        again = open_llava_json(str(tmp_path / "out" / "subset.json"), str(images), "stop", tmp_path / "cache")
    else:
        file = str(tmp_path / "out" / "subset.jsonl")
        again = open_sharegpt(file, str(images), "stop", str(tmp_path / "cache"), "stop", "source")
    assert [again[row].images for row in range(2)] == [pool[row].images for row in range(2)]
    assert [again[row].turns for row in range(2)] == [pool[row].turns for row in range(2)]


def test_a_row_of_one_image_in_a_list_is_the_row_it_was() -> None:
    one = {"image": "a/0.png", "conversations": LLAVA["conversations"][2:]}
    assert read_llava({**one, "image": ["a/0.png"]}) == read_llava(one)
