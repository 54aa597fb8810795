"""Exported rows are the pool's, read back by our own reader and by the documented fields of the others."""

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selectmm.errors import UserError
from selectmm.export import subset as module
from selectmm.export.formats import FORMATS
from selectmm.export.note import note
from selectmm.export.subset import export_subset
from selectmm.methods.from_file import FromIndices
from selectmm.methods.subset import Subset
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.pool.sharegpt import open_sharegpt
from selectmm.pool.table import SCHEMA
from tests.report.runs import run_of
from tests.tuning.conftest import Bench

TWICE = Subset(np.array([0, 2, 2, 3, 7]))


def test_llava_json_is_the_golden_file(bench: Bench, tmp_path: Path) -> None:
    """Written by hand, after LLaVA's own example of a row; the third row was chosen twice, the fourth has no image."""
    pool, answers = bench.pool, [turn.text for row in (0, 3) for turn in bench.pool[row].turns]
    export_subset(pool, TWICE, "llava", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "subset.json").read_text())
    assert [row["id"] for row in rows] == ["0", "2", "2", "3", "7"]
    assert rows[0] == {
        "id": "0",
        "image": "coco/0000.png",
        "conversations": [
            {"from": "human", "value": "<image>\nWhat colour is the shape?"},
            {"from": "gpt", "value": answers[1]},
        ],
        "source": "coco",
    }
    assert [turn["value"].count("<image>") for turn in rows[1]["conversations"]] == [1, 0, 0, 0]
    assert rows[1] == rows[2]
    assert rows[3] == {
        "id": "3",
        "conversations": [{"from": "human", "value": answers[2]}, {"from": "gpt", "value": answers[3]}],
        "source": "text",
    }


def test_the_pool_of_an_exported_file_is_the_subset_and_trains_the_same_model(bench: Bench, tmp_path: Path) -> None:
    """Equal digests in the same order, and equal losses of every step: method=full on it is the subset."""
    pool = bench.pool
    export_subset(pool, TWICE, "llava", tmp_path / "out")
    again = open_llava_json(str(tmp_path / "out" / "subset.json"), str(pool.image_root), "stop", tmp_path / "cache")
    assert [again[row].digest for row in range(5)] == [pool[int(row)].digest for row in TWICE.rows]
    before = bench.tune(tmp_path / "chosen", rows=TWICE.rows)
    after = Bench(bench.vlm, bench.build, again).tune(tmp_path / "all")
    assert before == after


@pytest.mark.parametrize(("name", "file"), [("llama_factory", "subset.json"), ("ms_swift", "subset.jsonl")])
def test_the_others_have_the_fields_that_their_documentation_names(
    name: str, file: str, bench: Bench, tmp_path: Path
) -> None:
    pool = bench.pool
    export_subset(pool, TWICE, name, tmp_path / "out")
    text = (tmp_path / "out" / file).read_text()
    rows = json.loads(text) if file.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    assert rows[0] == {
        "id": "0",
        "messages": [
            {"role": "user", "content": "<image>What colour is the shape?"},
            {"role": "assistant", "content": pool[0].turns[1].text},
        ],
        "images": ["coco/0000.png"],
        "source": "coco",
    }
    assert rows[3]["images"] == []
    assert [len(row["messages"]) for row in rows] == [2, 4, 4, 2, 2]
    for row, position in zip(rows, TWICE.rows, strict=True):
        said = [(turn.role, turn.text) for turn in pool[int(position)].turns]
        assert [(m["role"], m["content"].removeprefix("<image>")) for m in row["messages"]] == said
        assert sum(m["content"].count("<image>") for m in row["messages"]) == len(row["images"])


def test_llama_factory_finds_the_file_through_dataset_info(bench: Bench, tmp_path: Path) -> None:
    """The entry that its data/README.md gives for the roles of OpenAI, with the images' column."""
    export_subset(bench.pool, TWICE, "llama_factory", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "dataset_info.json").read_text()) == {
        "subset": {
            "file_name": "subset.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images"},
            "tags": {
                **{"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
                **{"system_tag": "system", "function_tag": "function_call", "observation_tag": "observation"},
            },
        }
    }


@pytest.mark.parametrize("name", ["llava", "llama_factory", "ms_swift"])
def test_a_row_with_every_field_comes_back_and_what_has_no_place_is_named(name: str, tmp_path: Path) -> None:
    """System prompt, tools, a call, its result, two images in two turns, an answer that is context, id and source."""
    for colour in ("red", "blue"):
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{colour}.png")
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>\nWhat colour?"},
        {"role": "function_call", "content": '{"name": "look", "arguments": {}}'},
        {"role": "observation", "content": "red"},
        {"role": "assistant", "content": "Red.", "loss": False},
        {"role": "user", "content": "And <image>\nthis?"},
        {"role": "assistant", "content": "Blue."},
    ]
    tools = '[{"name": "look", "description": "d", "parameters": {"type": "object", "properties": {}}}]'
    row = {"id": "a-1", "source": "mine", "tools": tools, "messages": said, "images": ["red.png", "blue.png"]}
    (tmp_path / "rows.json").write_text(json.dumps([{**row, "width": 8, "licence": "CC"}]))
    options = {"bad_rows": "stop", "system": "turn", "source": "source"}
    pool = open_sharegpt(str(tmp_path / "rows.json"), str(tmp_path), cache=str(tmp_path / "cache"), **options)
    export_subset(pool, Subset(np.array([0])), name, tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "- fields that selectmm does not read: `licence` (1 row), `width` (1 row)\n" in page
    file = tmp_path / "out" / FORMATS[name].file
    reader = open_llava_json if name == "llava" else open_sharegpt
    again = reader(str(file), str(tmp_path), cache=str(tmp_path / "again"), **options)
    assert again[0] == pool[0] and again.place_of(0)["id"] == "a-1" and again[0].source == "mine"
    assert not again.health.fields


def test_what_is_lost_is_told_of_with_counts_of_the_whole_pool(tmp_path: Path) -> None:
    """Of the first row: of its call and of its result. Only the second row is exported."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    asked, answer = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "Red."}
    said = [asked, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "1", "content": "red"}]
    rows = [
        {"messages": [*said, answer], "objects": {"bbox": [[1, 2, 3, 4]]}},
        {"messages": [asked, answer]},
        {"messages": [asked, answer, {"role": "user", "content": "<image>And this?"}], "images": ["a.png"]},
        {"messages": [{"role": "user", "content": "In HTML, <image> is?"}, answer]},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    options = {"bad_rows": "stop", "system": "turn", "source": "source", "cache": str(tmp_path / "cache")}
    pool = open_sharegpt(str(tmp_path / "rows.json"), str(tmp_path), **options)
    export_subset(pool, Subset(np.array([1])), "ms_swift", tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    _, _, found = page.partition("Left out (rows are counted over the whole pool); `--format original` keeps it:\n\n")
    fields = ("id of a call", "objects", "tool_call_id of a turn")
    assert found.splitlines()[:4] == [
        "- fields that selectmm does not read: " + ", ".join(f"`{name}` (1 row)" for name in fields),
        "- an answer before the first question, or a last question without an answer, with the images it shows (1 row)",
        "- `<image>` in the texts of rows without an image (1 row)",
        "",
    ]
    export_subset(pool, Subset(np.array([1])), "indices", tmp_path / "places")
    assert "Left out" not in (tmp_path / "places" / "README.md").read_text()


@pytest.mark.parametrize("name", ["llava", "llama_factory", "ms_swift"])
def test_a_row_without_an_id_gets_none_that_another_row_may_have(name: str, tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Two?"}, {"from": "gpt", "value": "2"}]
    rows = [{"id": id, "conversations": said} if id else {"conversations": said} for id in (1, None, None)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    pool = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path), "stop", tmp_path / "cache")

    def ids(positions: list[int]) -> list[object]:
        to = tmp_path / f"out{len(positions)}"
        export_subset(pool, Subset(np.array(positions)), name, to)
        text = (to / FORMATS[name].file).read_text()
        found = [json.loads(line) for line in text.splitlines()] if FORMATS[name].lines else json.loads(text)
        assert "- ids: those of the pool's file, as texts; a row without one has none" in (to / "README.md").read_text()
        return [row.get("id", "no such field") for row in found]

    assert ids([0, 1, 2]) == ["1", None, None] and ids([1, 2]) == ["no such field"] * 2


def test_indices_are_what_from_indices_reads(bench: Bench, tmp_path: Path) -> None:
    export_subset(bench.pool, TWICE, "indices", tmp_path / "out")
    method = FromIndices(str(tmp_path / "out" / "rows.json"))
    assert method.select(bench.pool, None, 1, np.random.default_rng()).rows.tolist() == TWICE.rows.tolist()


def test_absolute_paths_are_the_images_of_the_pool(bench: Bench, tmp_path: Path) -> None:
    export_subset(bench.pool, TWICE, "ms_swift", tmp_path / "out", absolute=True)
    first = json.loads((tmp_path / "out" / "subset.jsonl").read_text().splitlines()[0])
    assert first["images"] == [str((bench.pool.image_root / "coco/0000.png").resolve())]


def test_the_readme_counts_rows_per_source_and_names_both_fingerprints(bench: Bench, tmp_path: Path) -> None:
    export_subset(bench.pool, TWICE, "llava", tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "5 rows (4 different) of a pool of 8" in page
    assert "| coco | 4 | 3 |" in page
    assert "| text | 2 | 2 |" in page
    assert "| gqa | 2 | 0 |" in page
    assert TWICE.fingerprint in page
    assert bench.pool.fingerprint in page


def test_a_strangers_record_writes_no_page_of_its_own(bench: Bench) -> None:
    mine = run_of("prism", {}, options={"a": "<script>"})
    theirs = replace(mine, provenance=replace(mine.provenance, command="x`\n\n<img src=x>\n\n## Licence\r`\u2028"))
    page, same = (note(bench.pool, TWICE, FORMATS["llava"], one, "relative", []) for one in (theirs, mine))
    assert "<" not in page and "## Licence" in page and len(page.splitlines()) == len(same.splitlines())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40).map(lambda text: text.replace("<image>", ""))
ANSWERS = TEXTS.filter(lambda text: text.strip())
Entry = tuple[str, str, str, int | None]
ENTRIES = st.tuples(TEXTS, ANSWERS, st.sampled_from(["a", "ü|\n", '"q"', "\u2028"]), st.sampled_from([None, 0, 1]))


@settings(max_examples=15)
@given(st.lists(ENTRIES, min_size=1))
def test_whatever_the_texts_are_every_format_gives_them_back(entries: list[Entry]) -> None:
    """Blanks included, wherever the image stands, and also where the pool's file had one that no turn mentions."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        pool = pool_of(entries, folder)
        subset = Subset(np.arange(len(pool)))
        for kind in ("llava", "llama_factory", "ms_swift"):
            export_subset(pool, subset, kind, folder / kind)
        again = open_llava_json(str(folder / "llava" / "subset.json"), str(folder), "stop", folder / "cache")
        assert again.table["digest"].equals(pool.table["digest"])
        assert again.table["id"].equals(pool.table["id"])
        theirs = json.loads((folder / "llama_factory" / "subset.json").read_text())
        with (folder / "ms_swift" / "subset.jsonl").open() as lines:
            assert [json.loads(line) for line in lines] == theirs
        for number, row in enumerate(theirs):
            said = [message["content"] for message in row["messages"]]
            sample = pool[number]
            if sample.image:
                assert said[sample.image_turn].startswith("<image>")
                said[sample.image_turn] = said[sample.image_turn].removeprefix("<image>")
            assert said == [turn.text for turn in sample.turns]


def pool_of(entries: list[Entry], folder: Path) -> Pool:
    """(question, answer, source, question that the image opens, if there is one), asked twice, through the reader.

    An image of the first question is not mentioned there if the question is long: such rows exist, too.
    """
    if not (folder / "a.png").exists():
        Image.new("RGB", (8, 8)).save(folder / "a.png")
    rows = []
    for number, (question, answer, source, shown) in enumerate(entries):
        texts = [question, answer, question, answer]
        if shown == 1 or (shown == 0 and len(question) < 20):
            texts[2 * shown] = f"{question}<image>"
        said = [{"from": ("human", "gpt")[place % 2], "value": text} for place, text in enumerate(texts)]
        rows.append({"id": f"r{number}", "conversations": said, "source": source})
        if shown is not None:
            rows[-1]["image"] = "a.png"
    (folder / "pool.json").write_text(json.dumps(rows))
    return open_llava_json(str(folder / "pool.json"), str(folder), "stop", folder / "cache")


def test_a_text_that_would_be_taken_for_the_picture_is_refused(tmp_path: Path) -> None:
    """The reader takes <image> out once, and what then stands together may be another one."""
    pool = pool_of([("fine", "yes", "a", 0), ("<im<image>age> odd", "yes", "a", None)], tmp_path)
    with pytest.raises(UserError, match=r"The pool's row 1 \(id 'r1'\) says <image> in its text"):
        export_subset(pool, Subset(np.arange(2)), "llava", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_that_hold_a_trainers_placeholder_are_told_of(tmp_path: Path) -> None:
    """LLaMA-Factory fails on them ("The number of videos does not match …") unless the placeholder is renamed."""
    pool = pool_of([("HTML has", "<video> and <audio>", "a", None), ("plain", "text", "a", None)], tmp_path)
    everything = Subset(np.array([0, 0, 1]))
    assert export_subset(pool, everything, "llama_factory", tmp_path / "factory") == [0]
    page = (tmp_path / "factory" / "README.md").read_text()
    assert "1 row says `<video>` or `<audio>` in its text** (row 0 (id 'r0')…). Set the environment" in page
    assert export_subset(pool, everything, "llava", tmp_path / "llava") == []


def test_rows_with_context_are_told_of_in_more_text_than_one_array_holds(tmp_path: Path) -> None:
    """2.1 GiB in chunks that are the same 64 MiB; the second row of each chunk has an answer that is context."""
    said = [[{"role": "user", "text": "x" * 2**26, "trained": None}], [{"role": "assistant", "text": "y"}] * 2]
    said[1][0] = {"role": "assistant", "text": "z", "trained": False}
    turns = pa.array(said, SCHEMA.field("turns").type)
    texts = pa.nulls(2, pa.string())
    chunk = pa.RecordBatch.from_arrays([texts, pa.array(["s", "s"]), texts, turns], schema=SCHEMA)
    pool = Pool(pa.Table.from_batches([chunk] * 34), tmp_path, "large")
    page = note(pool, Subset(np.array([0, 1, 2, 67])), FORMATS["llava"], None, "relative", [])
    assert "**2 rows have answers with `loss: false`** (row 1, row 67…)" in page


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_leaves_nothing_behind(
    name: str, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "note", _full)
    with pytest.raises(UserError, match=r"out could not be written: No space left on device; make room"):
        export_subset(bench.pool, TWICE, name, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def _full(*_: object) -> str:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("occupy", "said"),
    [
        (lambda to: to.write_text(""), r"out is there already; give --to a new folder\.$"),
        (lambda to: (to.mkdir(), (to / "mine").touch()), r"out is not empty; give --to a new folder"),
    ],
)
def test_what_is_there_is_not_overwritten(
    occupy: Callable[[Path], object], said: str, bench: Bench, tmp_path: Path
) -> None:
    occupy(tmp_path / "out")
    with pytest.raises(UserError, match=said):
        export_subset(bench.pool, TWICE, "llava", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    export_subset(bench.pool, TWICE, "llava", tmp_path / "empty")
    assert (tmp_path / "empty" / "subset.json").is_file()


def test_an_empty_subset_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no rows"):
        export_subset(bench.pool, Subset(np.array([], int)), "llava", tmp_path / "out")
