"""Rows come back as the user's own file has them: bytes of JSON and of lines, values of every column of a table."""

import json
import shutil
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from selectmm.command_line.reading import ROOT
from selectmm.commands.export import main
from selectmm.errors import UserError
from selectmm.export.chosen import check_rows, check_target
from selectmm.export.original import original_of
from selectmm.export.original_files import HubRows, JsonFile, ParquetFiles
from selectmm.methods.subset import Subset, save_subset
from selectmm.pool.hub import load_split, open_hub, state_of_data
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.places import places_of
from selectmm.pool.webdataset import open_webdataset
from tests.tiny import write_pool

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SPACES = st.sampled_from(["", " ", "\n", "\r\n\t"])


@st.composite
def entries(draw: st.DrawFn, indent: bool) -> str:
    """A row of any fields, as any program may write it: with or without escapes, spaces and indents."""
    row = {"id": draw(st.text(max_size=5)), "weight": draw(VALUES), "extra": draw(VALUES)}
    styles = [{"separators": (",", ":")}, {}, {"sort_keys": True}, *([{"indent": 2}] if indent else [])]
    return json.dumps(row, ensure_ascii=draw(st.booleans()), **draw(st.sampled_from(styles)))


def chosen(draw: st.DrawFn, count: int) -> list[int]:
    return sorted(draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=6)))


@settings(max_examples=40)
@given(st.data())
def test_entries_of_a_list_keep_their_bytes(data: st.DataObject) -> None:
    rows = data.draw(st.lists(entries(indent=True), min_size=1, max_size=6))
    places = chosen(data.draw, len(rows))
    with TemporaryDirectory() as name:
        file, out = Path(name) / "rows.json", Path(name) / "out.json"
        joined = "".join(f"{data.draw(SPACES)}{row}{data.draw(SPACES)}," for row in rows)[:-1]
        mark = data.draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
        file.write_bytes(mark + f"[{joined}]".encode())
        JsonFile(file).write(places, out)
        wanted = [rows[place].encode() for place in places]
        assert out.read_bytes() == b"[\n" + b",\n".join(wanted) + b"\n]\n"


@settings(max_examples=60)
@given(st.data())
def test_lines_keep_their_bytes_and_their_ends(data: st.DataObject) -> None:
    rows = data.draw(st.lists(entries(indent=False) | st.just(""), min_size=1, max_size=6).filter(any))
    ends = [data.draw(st.sampled_from(["\n", "\r\n"])) for _ in rows]
    last = len(rows) - 1
    ends[last] = data.draw(st.sampled_from(["", ends[last]])) if rows[last] else "\n"
    filled = [number for number, row in enumerate(rows, 1) if row]
    places = sorted(data.draw(st.lists(st.sampled_from(filled), min_size=1, max_size=6)))
    with TemporaryDirectory() as name:
        file, out = Path(name) / "rows.jsonl", Path(name) / "out.jsonl"
        file.write_bytes("".join(row + end for row, end in zip(rows, ends, strict=True)).encode())
        JsonFile(file).write(places, out)
        wanted = [(rows[place - 1] + (ends[place - 1] or "\n")).encode() for place in places]
        assert out.read_bytes() == b"".join(wanted)


def table_of(count: int, start: int = 0) -> pa.Table:
    """Rows with every kind of column that people have, some of which no pool reads."""
    numbers = range(start, start + count)
    turns = [[{"from": "human", "value": f"q{n}"}, {"from": "gpt", "value": f"a{n}"}] for n in numbers]
    columns = {
        "id": [f"r{n}" for n in numbers],
        "conversations": turns,
        "images": [[{"bytes": bytes([n]), "path": None}] for n in numbers],
        "score": pa.array([n / 3 for n in numbers], pa.float32()),
        "tags": pa.array([[f"t{n}"] if n % 2 else None for n in numbers], pa.list_(pa.string())),
    }
    return pa.table(columns).replace_schema_metadata({"huggingface": '{"info": {}}', "mine": "kept"})


@settings(max_examples=12)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=3), st.integers(1, 4), st.data())
def test_rows_of_parquet_keep_every_column(counts: list[int], group: int, data: st.DataObject) -> None:
    places = chosen(data.draw, sum(counts))
    with TemporaryDirectory() as name:
        folder, out = Path(name) / "rows", Path(name) / "out.parquet"
        folder.mkdir()
        for number, count in enumerate(counts):
            table = table_of(count, sum(counts[:number]))
            pq.write_table(table, folder / f"{number}.parquet", row_group_size=group, compression="zstd")
        ParquetFiles(folder).write(places, out)
        whole = pa.concat_tables(pq.read_table(file) for file in sorted(folder.iterdir()))
        assert pq.read_table(out).equals(whole.take(places), check_metadata=True)
        assert pq.ParquetFile(out).metadata.row_group(0).column(0).compression == "ZSTD"


def test_files_of_other_columns_are_not_made_one(tmp_path: Path) -> None:
    pq.write_table(table_of(2), tmp_path / "a.parquet")
    pq.write_table(table_of(2).drop_columns("score"), tmp_path / "b.parquet")
    with pytest.raises(
        UserError,
        match=r"b\.parquet has other columns than .*a\.parquet, so their rows cannot be .*use --format indices\.$",
    ):
        ParquetFiles(tmp_path).write([0, 3], tmp_path / "out.parquet")
    entry = {"_target_": "selectmm.pool.parquet.open_parquet", "file": str(tmp_path)}
    with pytest.raises(UserError, match=r"b\.parquet has other columns than"):  # `select` asks before it chooses
        check_rows(None, "original", entry)
    check_rows(None, "indices", entry)


def test_rows_of_a_hub_data_set_keep_every_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    (tmp_path / "set").mkdir()
    whole = table_of(5).replace_schema_metadata(None)
    pq.write_table(whole, tmp_path / "set" / "train.parquet")
    state = state_of_data(load_split(str(tmp_path / "set"), None, "main", "train"))
    HubRows(str(tmp_path / "set"), None, "main", "train", state).write([0, 3, 3], tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == whole.take([0, 3, 3]).to_pylist()


def test_rows_of_a_hub_data_set_that_changed_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it has as many rows as before, and if rows were left out after the pool was read."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    (tmp_path / "set").mkdir()
    pq.write_table(table_of(5).drop_columns("images"), tmp_path / "set" / "train.parquet")
    cache = str(tmp_path / "cache")
    pool = open_hub(str(tmp_path / "set"), None, "main", "train", str(tmp_path), "stop", cache, "turn", "source")
    entry = {"_target_": "selectmm.pool.hub.open_hub", "dataset": str(tmp_path / "set")}
    original = original_of({**entry, "name": None, "revision": "main", "split": "train"}, pool.without([0], "left"))
    original.write([1, 2], tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == ["r1", "r2"]
    pq.write_table(table_of(5, 10).drop_columns("images"), tmp_path / "set" / "train.parquet")
    with pytest.raises(UserError, match=r"^Data set .*set changed after the pool was read, so no rows were written; s"):
        original.write([1, 2], tmp_path / "out.parquet")


def test_rows_of_tars_keep_their_files(tmp_path: Path) -> None:
    """Of three rows the last two: one has an image and a text beside it, the other an image beside the first row."""
    png, turns = BytesIO(), [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "It."}]
    Image.new("RGB", (4, 4)).save(png, "PNG")
    files = {
        "a.json": json.dumps({"conversations": turns}).encode(),
        "a.png": png.getvalue(),
        "b.json": json.dumps({"conversations": turns, "mine": [1, None]}, indent=3).encode(),
        "b.png": png.getvalue(),
        "b.txt": b"a note",
        "d/c.json": json.dumps({"conversations": turns, "image": "./a.png"}).encode(),
    }
    with tarfile.open(tmp_path / "0.tar", "w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(content), 1_700_000_000.5, 0o600
            entry.name, entry.uname = (f"./{name}" if name[0] == "b" else name), "me"
            made.addfile(entry, BytesIO(content))
    entry = {"_target_": "selectmm.pool.webdataset.open_webdataset", "tars": f"{tmp_path}/0.tar"}
    pool = open_webdataset(entry["tars"], "stop", str(tmp_path / "cache"), "turn", "source")
    original = original_of(entry, pool)
    original.write([1, 2], tmp_path / "out.tar")
    with tarfile.open(tmp_path / "out.tar") as out:
        found = {member.name: out.extractfile(member).read() for member in out}
        headers = {(member.mtime, member.mode, member.uname) for member in out}
    kept = {f"./{name}" if name[0] == "b" else name: files[name] for name in files if name != "a.json"}
    assert original.ending == ".tar" and list(found.items()) == list(kept.items())
    assert headers == {(1_700_000_000.5, 0o600, "me")}
    again = open_webdataset(f"{tmp_path}/out.tar", "stop", str(tmp_path / "cache"), "turn", "source")
    assert again.table["digest"].to_pylist() == pool.table["digest"].to_pylist()[1:]
    with pytest.raises(
        UserError, match=r"Row 1 was chosen twice, and a tar holds each file once; use --format indices"
    ):
        original.write([1, 1], tmp_path / "out.tar")
    with pytest.raises(UserError, match=r"0\.tar has no row at place 3 any more"):
        original.write([3], tmp_path / "out.tar")
    shutil.copy(tmp_path / "out.tar", tmp_path / "0.tar")
    with pytest.raises(
        UserError, match=r"0\.tar changed after the pool was read, so no rows were written; select agai"
    ):
        original.write([1, 2], tmp_path / "out.tar")


def test_a_folder_for_several_methods_is_not_named_as_a_file_of_rows_is(tmp_path: Path) -> None:
    entry = {"_target_": "selectmm.pool.webdataset.open_webdataset"}
    for ending in ("json", "jsonl", "parquet", "tar"):
        with pytest.raises(
            UserError, match=r"Several methods are written to a folder, not to a file; give --to .*kept\.$"
        ):
            check_target(tmp_path / f"kept.{ending}", "original", True, entry)
    check_target(tmp_path / "kept", "original", True, entry)


def test_a_file_that_shrank_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text("[{}, {}]")
    with pytest.raises(UserError, match=r"rows\.json has no row at place 2 any more: it changed after the pool was"):
        JsonFile(tmp_path / "rows.json").write([0, 2], tmp_path / "out.json")


def test_a_loader_of_ones_own_is_not_guessed_at() -> None:
    with pytest.raises(UserError, match=r"Which file my\.loader reads is not known"):
        original_of({"_target_": "my.loader", "file": "x.json"}, None)


def test_rows_that_were_left_out_move_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's third row is the file's fourth: the file's second has no image and was dropped."""
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    file, images = write_pool(tmp_path / "pool", rows=8)
    text = json.loads(file.read_text())
    text[1]["image"] = "coco/none.png"
    file.write_text(json.dumps(text))
    pool = open_llava_json(str(file), str(images), "drop", tmp_path / "cache")
    assert len(pool) == 7
    assert places_of(pool, np.array([0, 2])) == [0, 3]
    (tmp_path / "subset").mkdir()
    save_subset(Subset(np.array([0, 2])), pool, tmp_path / "subset")
    options = ["pool=llava_json", f"pool.file={file}", f"pool.images={images}", "pool.bad_rows=drop"]
    arguments = ["--subset", str(tmp_path / "subset"), "--format", "original", "--to", str(tmp_path / "out")]
    main(["subset", *options, f"cache={tmp_path / 'cache'}", *arguments])
    assert json.loads((tmp_path / "out" / "rows.json").read_text()) == [text[0], text[3]]
    assert "The rows are those of the pool's file" in (tmp_path / "out" / "README.md").read_text()
