"""Chats in every spelling become the same pool, and what is no chat is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.methods.from_file import FromIndices
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.places import places_digest, places_of
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.pool.sharegpt import open_sharegpt

ASKED, SAID = "<image>What is this?", "A dog."
SWIFT = {"messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": SAID}]}
SHAREGPT = {"conversations": [{"from": "human", "value": ASKED}, {"from": "gpt", "value": SAID}]}

SHAREGPT_ALONE = {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "images" / "a").mkdir(parents=True)
    Image.new("RGB", (8, 6), "red").save(tmp_path / "images" / "a" / "1.png")
    return tmp_path


def opened(place: Path, rows: list[object], system: str = "stop", name: str = "rows.json") -> Pool:
    file = place / name
    file.write_text("\n".join(map(json.dumps, rows)) if name.endswith("l") else json.dumps(rows))
    return open_sharegpt(str(file), str(place / "images"), "stop", str(place / "cache"), system, "source")


def test_every_spelling_gives_the_same_rows(place: Path) -> None:
    rows = [
        {**SWIFT, "images": ["a/1.png"]},
        {**SHAREGPT, "images": ["a/1.png"]},
        {**SHAREGPT, "image": "a/1.png"},
        {**SWIFT, "images": [str(place / "images" / "a" / "1.png")]},  # ms-swift's paths are often absolute
    ]
    pool = opened(place, rows)
    assert {pool[row].turns for row in range(4)} == {(Turn("user", "What is this?"), Turn("assistant", "A dog."))}
    assert len({pool[row].digest for row in range(4)}) == 1 and pool.counts() == {"a": 4}
    assert pool.open_image(pool[3].image).size == (8, 6)
    assert opened(place, rows, name="rows.jsonl").fingerprint == pool.fingerprint


def test_another_file_of_the_same_rows_has_its_own_notes(place: Path) -> None:
    """Without its system prompts it is the pool of the file that has none, and what is cached for that is found."""
    plain = {**SWIFT, "images": ["a/1.png"]}
    assert opened(place, [plain]).health.system == []
    prompted = opened(place, [{**plain, "system": "Be brief."}], "leave_out", "prompted.json")
    assert prompted.fingerprint == opened(place, [plain]).fingerprint and prompted.health.system == [0]
    assert opened(place, [plain]).health.system == []


def test_a_copy_of_a_file_is_named_in_what_is_told_of_its_rows(place: Path) -> None:
    """It is known from before by its content; and ids are listed as they are, so that lists can be joined."""
    rows = [{"id": id, "messages": []} for id in ("2", 2, None, float("nan"), "x" * 70, {"any": 1}, "\ud800")]
    for name in ("first.json", "second.json"):
        with pytest.raises(UserError, match=rf"\(first: Row 0 of \S*{name} \(id '2'\) has no turns") as problem:
            opened(place, rows, name=name)
    listed = Path(str(problem.value).partition("The full list is in ")[2].partition(". ")[0]).read_text().splitlines()
    ids = ["2", "2", None, None, "x" * 70, "{'any': 1}", "\ud800"]
    assert [json.loads(line)["id"] for line in listed] == ids


def test_the_same_rows_at_other_places_are_told_apart_for_lists_of_places(place: Path) -> None:
    """A row that cannot be read moves those behind it."""
    rows = [{**SWIFT, "images": ["a/1.png"]}, SHAREGPT_ALONE]
    before = place / "before.json"
    before.write_text(json.dumps([{"messages": 3}, *rows]))
    moved = open_sharegpt(str(before), str(place / "images"), "drop", str(place / "cache"), "stop", "source")
    assert moved.fingerprint == opened(place, rows).fingerprint and places_of(moved, np.arange(2)) == [1, 2]
    assert places_digest(moved) != places_digest(opened(place, rows))
    assert places_digest(opened(place, rows, name="again.json")) == places_digest(opened(place, rows))
    assert FromIndices(str(before)).needs().places


def test_a_chat_without_images_is_text_only(place: Path) -> None:
    plain = {"messages": [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "2"}]}
    pool = opened(place, [plain, {**plain, "images": []}, {**plain, "images": None}])
    assert pool.image_of.tolist() == [-1, -1, -1] and pool.counts() == {"text": 3}


def test_llava_json_and_sharegpt_agree(place: Path) -> None:
    pool = opened(place, [{**SHAREGPT, "image": "a/1.png", "id": 3}])
    other = open_llava_json(str(place / "rows.json"), str(place / "images"), "stop", place / "cache")
    assert pool[0] == other[0] and pool.table.equals(other.table)


@pytest.mark.parametrize(
    ("system", "question"), [("join", "Be brief.\n\nWhat is this?"), ("leave_out", "What is this?")]
)
def test_a_system_turn_is_refused_joined_or_left_out(place: Path, system: str, question: str) -> None:
    turn = {"role": "system", "content": "Be brief."}
    rows = [
        {"messages": [turn, *SWIFT["messages"]], "images": ["a/1.png"]},
        {**SWIFT, "system": "Be brief.", "images": ["a/1.png"]},  # LLaMA-Factory's own column
    ]
    pool = opened(place, rows, system)
    assert pool[0].turns[0].text == pool[1].turns[0].text == question
    assert pool.health.system == [0, 1]
    with pytest.raises(
        UserError,
        match=r"Row 0 of .* has a system turn \(.*\); set pool\.system=turn .*=join .* pool\.system=leave_out",
    ):
        opened(place, rows, "stop")
    with pytest.raises(UserError, match=r"pool\.system=keep is not valid; choose turn, stop, join or leave_out\."):
        opened(place, rows, "keep")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"messages": [{"role": "tool", "content": "x"}]},
            "does not alternate .* and every result of a tool its call",
        ),
        ({"messages": SWIFT["messages"][::-1]}, "does not alternate human and gpt"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "has in turn 0 a text part without a 'text'",
        ),
        ({"messages": []}, "has no turns in 'messages' or 'conversations'; it has: messages"),
        ({"text": "…"}, "has no turns in 'messages' or 'conversations'; it has: text"),
        (
            {**SWIFT, "images": ["a/1.png", "a/1.png"]},
            "for 2 images; give as many of the one as of the other",
        ),
        ({**SWIFT, "images": [{"path": "a/1.png"}]}, "has an 'images' that is an object, not a path: .*pool=parquet"),
        ({**SWIFT, "videos": [{"path": "1.mp4"}]}, "has a 'videos' that is an object, not a path: .*; write the path"),
        ({**SWIFT, "images": ["../secret.png"]}, "leaves the image folder"),
    ],
)
def test_what_is_no_chat_is_named(place: Path, row: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(").replace(")", r"\)")):
        opened(place, [row])


def test_all_unreadable_rows_are_counted_in_one_go(place: Path) -> None:
    bad = {**SWIFT, "images": ["a/1.png", "a/2.png"]}
    with pytest.raises(
        UserError, match=r"^The pool has 3 rows with more or fewer <image> than images \(first: Row 1 of .*\), 1 row"
    ):
        opened(place, [{**SWIFT, "images": ["a/1.png"]}, bad, bad, bad, {}])
