"""Rows of strangers: whatever stands in them, a reader gives a sound row or counts it, and good rows come through."""

import json
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from itertools import pairwise
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.bad import BadRow
from selectmm.pool.llava_json import open_llava_json, read_llava
from selectmm.pool.lrv import open_lrv, read_lrv
from selectmm.pool.parquet import open_parquet
from selectmm.pool.pool import Pool
from selectmm.pool.row import Row
from selectmm.pool.sample import ANSWERS
from selectmm.pool.sharegpt import ChatReader, open_sharegpt
from tests.bad_input import examples
from tests.pool.strange import ASKED, BAD, GOOD, SAID, JsonRow


def llava(answer: str) -> JsonRow:
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": answer}]
    return {"id": answer, "image": "a/1.png", "conversations": said}


def chat(answer: str) -> JsonRow:
    said = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": answer}]
    return {"id": answer, "images": ["a/1.png"], "messages": said}


def lrv(answer: str) -> JsonRow:
    return {"id": answer, "image_id": "a/1", "question": "What?", "answer": answer, "task": "negative"}


KINDS: dict[str, tuple[Callable[[str], JsonRow], Callable[[object], Row]]] = {
    "llava": (llava, lambda row: read_llava(row, system="join", roots=("/images",))),
    "sharegpt": (chat, ChatReader("join", roots=("/images",))),
    "lrv": (lrv, read_lrv),
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    (folder / "a").mkdir()
    for name in ("1.png", "1.jpg", "2.png"):
        Image.new("RGB", (4, 4), "red").save(folder / "a" / name)
    return folder


def opened(kind: str, file: Path, images: Path, bad_rows: str, system: str = "stop") -> Pool:
    cache = str(file.parent / "cache")
    if kind == "lrv":
        return open_lrv(str(file), str(images), bad_rows, cache)
    if kind == "parquet":
        return open_parquet(str(file), str(images), bad_rows, cache, system, "source")
    if kind == "sharegpt":
        return open_sharegpt(str(file), str(images), bad_rows, cache, system, "source")
    return open_llava_json(str(file), str(images), bad_rows, cache, system=system)


def written(rows: list[object], folder: Path, ending: str) -> Path:
    file = folder / f"rows.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("\n".join(map(json.dumps, rows)) if ending == "jsonl" else json.dumps(rows))
    return file


# --- any value at any place -------------------------------------------------------------------------------------------

WORDS = (
    "", " ", "<image>", "a/1.png", "../1.png", "/etc/hostname", "/images/a/1.png", "data:image/png;base64,AA", "\0",
    "x" * 300, "\ud800", "\udcff", "\x1b[2J", "http://x/1.png", "system", "human", "assistant", "tool", "<bbox>",
)  # fmt: skip
NAMES = (
    "id", "image", "images", "conversations", "messages", "from", "value", "role", "content", "system", "source",
    "loss", "weight", "tools", "videos", "objects", "tool_calls", "rejected", "label", "path", "bytes",
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=6,
)


@st.composite
def disturbed(draw: st.DrawFn, row: JsonRow) -> object:
    """The row with any value at a place or two: instead of one that is there, or beside it."""
    row = deepcopy(row)
    for _ in range(draw(st.integers(1, 2))):
        place: object = row
        while True:
            inner = list(place.values()) if isinstance(place, dict) else place
            deeper = [one for one in inner if isinstance(one, dict | list)]
            if not deeper or draw(st.booleans()):
                break
            place = draw(st.sampled_from(deeper))
        if isinstance(place, dict):
            place[draw(st.sampled_from([*place, *NAMES]))] = draw(ANYTHING)
        else:
            place.insert(draw(st.integers(0, len(place))), draw(ANYTHING))
    return row


@pytest.mark.parametrize("kind", KINDS)
@examples(50)
@given(data=st.data())
def test_any_value_at_any_place_gives_a_sound_row_or_a_counted_one(kind: str, data: st.DataObject) -> None:
    make, read = KINDS[kind]
    content = data.draw(disturbed(make("A dog.")) | ANYTHING)
    try:
        row = read(content)
    except BadRow as problem:
        assert problem.reason and len(str(problem)) < 900
        str(problem).encode()  # no half characters, whatever is quoted
        return
    roles = [turn.role for turn in row.turns if turn.role not in ("system", "tools", "tool_call", "tool_result")]
    assert roles[0] == "user" and all(one != "user" or other != "user" for one, other in pairwise(roles))
    assert row.turns[-1].role in ANSWERS
    assert all(type(turn.text) is str for turn in row.turns)
    assert any(turn.trained for turn in row.turns if turn.role in ANSWERS)
    assert isinstance(row.source, str) and (row.id or "").encode() is not None
    for image in row.images:
        path = PurePosixPath(image.path)
        assert not path.is_absolute() and ".." not in path.parts and "\0" not in image.path
        assert row.turns[image.turn].role in ("user", "tool_result") and 0 <= image.at <= len(
            row.turns[image.turn].text
        )


@pytest.mark.parametrize(("kind", "ending"), [("llava", "json"), ("sharegpt", "jsonl"), ("lrv", "json")])
@examples(8)
@given(data=st.data())
def test_good_rows_come_through_whatever_stands_between_them(
    kind: str, ending: str, images: Path, data: st.DataObject
) -> None:
    make = KINDS[kind][0]
    good = data.draw(st.lists(st.booleans(), min_size=1, max_size=6))
    rows = [make(f"good {n}") if fine else data.draw(disturbed(make("odd"))) for n, fine in enumerate(good)]
    with TemporaryDirectory() as name:
        file = written([*rows, make("good last")], Path(name), ending)
        for bad_rows in ("keep", "drop"):
            pool = opened(kind, file, images, bad_rows)
            answers = [pool[row].turns[-1].text for row in range(len(pool))]
            wanted = [f"good {n}" for n, fine in enumerate(good) if fine] + ["good last"]
            assert [answer for answer in answers if answer.startswith("good")] == wanted
            read = len(pool) + (len(pool.health.bad) if bad_rows == "drop" else 0)
            assert read + sum(pool.health.unread.values()) == len(rows) + 1
        if pool.health.bad_rows:
            with pytest.raises(UserError, match=r"pool\.bad_rows=drop"):
                opened(kind, file, images, "stop")


@examples(15)
@given(
    order=st.permutations([None] * 4 + [(reason, n) for reason, rows in BAD.items() for n in range(len(rows))]),
    ending=st.sampled_from(["json", "jsonl"]),
    good=st.lists(st.sampled_from(GOOD), min_size=4, max_size=4),
)
def test_the_kept_rows_are_the_good_ones_and_the_others_are_counted_by_reason(
    order: list[tuple[str, int] | None], ending: str, good: list[JsonRow], images: Path
) -> None:
    fine = iter(good)
    rows = [next(fine) if one is None else BAD[one[0]][one[1]] for one in order]
    with TemporaryDirectory() as name:
        pool = opened("sharegpt", written(rows, Path(name), ending), images, "drop")
        first = 1 if ending == "jsonl" else 0
        assert pool.table["place"].to_pylist() == [place + first for place, one in enumerate(order) if one is None]
        assert len(set(pool.table["digest"].to_pylist())) == 1 and pool.counts() == {"a": 4}
        assert pool.health.unread == Counter(one[0] for one in order if one is not None)
        listed = next(Path(name).glob("cache/pool-rows/*/unread.jsonl")).read_text().splitlines()
        places = [(json.loads(line)["line" if first else "row"], json.loads(line)["reason"]) for line in listed]
        assert places == [(place + first, one[0]) for place, one in enumerate(order) if one is not None]


def test_a_table_fills_in_what_a_row_does_not_have(images: Path, tmp_path: Path) -> None:
    """Parquet gives every row every field, so that `messages` and `image` of one are null in another."""
    plain = {"messages": [ASKED, SAID], "conversations": None, "image": None, "images": ["a/1.png"], "videos": []}
    turns = [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "A dog."}]
    other = {"messages": [], "conversations": turns, "image": "a/1.png", "images": [], "videos": None}
    both = {**plain, "image": "a/2.png"}
    film = {**plain, "videos": ["v/1.mp4"]}
    pool = opened("parquet", written([both, plain, film, other], tmp_path, "parquet"), images, "drop")
    assert pool.table["place"].to_pylist() == [1, 3] and pool[0].digest == pool[1].digest
    assert pool.health.reasons == {"fields that contradict each other": 1, "a missing image": 1}


def test_a_text_in_a_table_that_is_no_utf8_takes_its_row_alone(images: Path, tmp_path: Path) -> None:
    said = pa.array([[{"role": "user", "content": b"What?"}, {"role": "assistant", "content": text}]
                     for text in (b"A dog.", b"caf\xe9", b"A cat.")])  # fmt: skip
    kind = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    raw = pa.Array.from_buffers(
        kind, 3, said.buffers()[:2], children=[
            pa.StructArray.from_arrays(
                [said.flatten().field("role"), said.flatten().field("content").view(pa.string())], ["role", "content"]
            )
        ],
    )  # fmt: skip
    pq.write_table(pa.table({"messages": raw}), tmp_path / "rows.parquet")
    pool = opened("parquet", tmp_path / "rows.parquet", images, "drop")
    assert [pool[row].turns[1].text for row in range(2)] == ["A dog.", "A cat."]
    assert pool.health.unread == {"damaged values": 1} and pool.table["place"].to_pylist() == [0, 2]


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_numbers_without_end_and_nests_without_ground(ending: str, images: Path, tmp_path: Path) -> None:
    """Python makes no number of 5,000 digits and follows no 100,000 brackets."""
    good = json.dumps(llava("A dog."))
    long = good.replace('"A dog."', "9" * 5_000, 1)
    deep = good.replace('"A dog."', "[" * 100_000 + "]" * 100_000, 1)
    file = tmp_path / f"rows.{ending}"
    file.write_text("\n".join([long, good]) if ending == "jsonl" else f"[{long}, {good}]")
    assert opened("llava", file, images, "stop").table["id"].to_pylist() == ["9" * 5_000, "A dog."]
    file.write_text("\n".join([good, deep]) if ending == "jsonl" else f"[{good}, {deep}]")
    if ending == "jsonl":
        assert opened("llava", file, images, "drop").health.unread == {"values nested too deeply": 1}
    else:
        with pytest.raises(UserError, match=r"Row 1 of .*\(it is nested too deeply to be a row\)"):
            opened("llava", file, images, "drop")
