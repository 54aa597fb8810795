"""Parquet files and hub data sets: the rows and images that went in come out, offline."""

import hashlib
import io
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.hub import open_hub
from selectmm.pool.parquet import open_parquet
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Shown, Turn
from tests.clips import write_clip

TALK = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A dog."}]
PLAIN = [{"from": "human", "value": "Two?"}, {"from": "gpt", "value": "2"}]


def png(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(stream, "PNG")
    return stream.getvalue()


def parquet(path: Path, rows: list[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def opened(path: Path, images: Path | None = None, bad_rows: str = "stop") -> Pool:
    cache = str(path.parent / "cache")
    return open_parquet(str(path), str(images) if images else None, bad_rows, cache, "stop", "source")


def inside(colour: str, path: str = "coco/1.png") -> dict[str, object]:
    return {"conversations": TALK, "image": {"bytes": png(colour), "path": path}}


def test_clips_of_a_table_are_files_and_may_be_named_as_images_are(tmp_path: Path) -> None:
    """As ``datasets`` writes them, whose feature of a video is the struct that an image's is."""
    write_clip(tmp_path / "clips" / "v" / "1.mp4", frames=2)
    answer, asked = {"role": "assistant", "content": "It."}, {"role": "user", "content": "<video>What?"}
    cell = {"bytes": None, "path": "v/1.mp4"}
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

    def table(clip: object, images: Path | None) -> Pool:
        columns = {"messages": pa.array([[asked, answer]]), "videos": pa.array([[clip]], pa.list_(kind))}
        pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
        return opened(tmp_path / "rows.parquet", images)

    whole = table(cell, tmp_path / "clips")
    assert whole[0].images == (Shown("v/1.mp4", video=True),)
    parts = [{"type": "video", "text": None, "video": cell}, {"type": "text", "text": "What?", "video": None}]
    said = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": "It."}]}]
    listed = opened(parquet(tmp_path / "parts.parquet", [{"messages": said}]), tmp_path / "clips")
    assert listed[0].digest == whole[0].digest
    with pytest.raises(
        UserError, match=r"has a clip inside the table, and clips are read from files alone; write them"
    ):
        table({**cell, "bytes": b"mp4"}, tmp_path / "clips")
    with pytest.raises(UserError, match=r"has a clip, and pool\.images=null is for images inside the table; write the"):
        table(cell, None)


def test_images_inside_become_files_once(tmp_path: Path) -> None:
    rows = [inside("red"), inside("blue", "1.png"), inside("red"), {"conversations": PLAIN, "image": None}]
    pool = opened(parquet(tmp_path / "rows.parquet", rows))
    assert pool[0].turns == (Turn("user", "What?"), Turn("assistant", "A dog."))
    assert pool.image_of.tolist() == [0, 1, 0, -1]
    assert pool.counts() == {"coco": 2, "images": 1, "text": 1}
    assert np.asarray(pool.open_image(pool.images[1]))[0, 0].tolist() == [0, 0, 255]
    assert pool.images == ["coco/1.png", "1.png"]  # as they would be in a folder
    assert len(list(pool.image_root.rglob("*.png"))) == 2


@pytest.mark.parametrize(
    "path",
    [
        "coco/1.png",
        "",
        "/tmp/out.png",
        "../out.png",
        "coco/..",
        "coco/",
        ".",
        "a\nb.png",
        "x" * 256,
        "data:1",
        "s3://b/1",
    ],
    ids=["taken", "none", "absolute", "climbs", "ends-in-dots", "folder", "dot", "line", "long", "data", "address"],
)
def test_an_image_without_a_path_of_its_own_is_named_by_its_content(tmp_path: Path, path: str) -> None:
    rows = [inside("red"), inside("blue", path)]
    pool = opened(parquet(tmp_path / "rows.parquet", rows))
    name = hashlib.sha256(png("blue")).hexdigest()[:32]
    assert pool.images[0] == "coco/1.png" and f"{name[:2]}/{name}" in pool.images[1]
    assert np.asarray(pool.open_image(pool.images[0]))[0, 0].tolist() == [255, 0, 0]
    assert np.asarray(pool.open_image(pool.images[1]))[0, 0].tolist() == [0, 0, 255]
    assert all(file.is_relative_to(pool.image_root) for file in tmp_path.rglob("*.png"))


def test_an_image_below_another_image_is_a_bad_row(tmp_path: Path) -> None:
    """No folder has a file and a folder of one name, so these rows were never those of a folder."""
    rows = [inside("red", "coco"), inside("blue", "coco/1.png"), inside("green", "coco")]
    with pytest.raises(
        UserError, match=r"1 row with an image whose path is taken \(first: Row 1 .*'coco/1\.png', where"
    ):
        opened(parquet(tmp_path / "rows.parquet", rows))
    pool = opened(tmp_path / "rows.parquet", bad_rows="drop")
    assert len(pool) == 2 and len(set(pool.images)) == 2


def test_the_fingerprint_follows_rows_and_images_and_not_the_files(tmp_path: Path) -> None:
    whole = opened(parquet(tmp_path / "one" / "rows.parquet", [inside("red"), inside("blue")]))
    parquet(tmp_path / "two" / "0.parquet", [inside("red")])
    parquet(tmp_path / "two" / "1.parquet", [inside("blue")])
    assert opened(tmp_path / "two").fingerprint == whole.fingerprint
    other = opened(parquet(tmp_path / "three" / "rows.parquet", [inside("red"), inside("green")]))
    assert other.fingerprint != whole.fingerprint


@pytest.mark.parametrize("image", ["a/1.png", {"bytes": None, "path": "a/1.png"}])
def test_images_as_paths_lie_in_their_folder(tmp_path: Path, image: object) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "1.png").write_bytes(png("red"))
    rows = [{"conversations": TALK, "image": image, "source": "mine"}]
    pool = opened(parquet(tmp_path / "rows.parquet", rows), tmp_path / "images")
    assert (pool.images, pool.counts()) == (["a/1.png"], {"mine": 1})
    with pytest.raises(UserError, match=r"Row 0 of .* has an image that is only a path \('a/1\.png'\); set"):
        opened(tmp_path / "rows.parquet")


def test_bytes_that_do_not_open_are_bad_rows(tmp_path: Path) -> None:
    rows = [inside("red"), {"conversations": TALK, "image": {"bytes": b"<html>404", "path": "a.png"}}]
    path = parquet(tmp_path / "rows.parquet", rows)
    with pytest.raises(UserError, match=r"1 row with a broken image \(first: row 1, a\.png"):
        opened(path)
    assert len(opened(path, bad_rows="drop")) == 1


def test_what_is_no_such_parquet_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no column 'messages' or 'conversations'; it has: 'text'\."):
        opened(parquet(tmp_path / "text.parquet", [{"text": "…"}]))
    with pytest.raises(UserError, match=r"Row 0 of .* has 1 <image> \(in turns \[0\]\) for 2 images"):
        opened(parquet(tmp_path / "two.parquet", [{"conversations": TALK, "images": [{"bytes": png("red")}] * 2}]))
    with pytest.raises(UserError, match=r"There is no parquet file at .*none\.parquet; set pool\.file"):
        opened(tmp_path / "none.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "text.parquet").read_bytes()[:-9])
    with pytest.raises(UserError, match=r"cut\.parquet is not a whole parquet file"):
        opened(tmp_path / "cut.parquet")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def hub(place: Path, dataset: str, split: str = "train") -> Pool:
    return open_hub(dataset, None, "main", split, None, "stop", str(place / "cache"), "stop", "data_source")


@pytest.mark.usefixtures("offline")
def test_a_data_set_of_the_hub_in_a_folder(tmp_path: Path) -> None:
    features = datasets.Features(
        {
            "conversations": [{"from": datasets.Value("string"), "value": datasets.Value("string")}],
            "image": datasets.Image(),
            "data_source": datasets.Value("string"),
        }
    )
    rows = [
        {"conversations": TALK, "image": {"bytes": png("red"), "path": None}, "data_source": "mine"},
        {"conversations": PLAIN, "image": None, "data_source": None},
    ]
    folder = tmp_path / "owner" / "name"
    (folder / "data").mkdir(parents=True)
    datasets.Dataset.from_list(rows, features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n---\n"
    )
    pool = hub(tmp_path, str(folder))
    assert pool.counts() == {"mine": 1, "text": 1} and pool.image_of.tolist() == [0, -1]
    assert pool.open_image(pool.images[0]).size == (8, 6)
    assert hub(tmp_path, str(folder)).fingerprint == pool.fingerprint
    with pytest.raises(UserError, match=r"split 'test' cannot be loaded \(.*test.*\)"):
        hub(tmp_path, str(folder), "test")


@pytest.mark.usefixtures("offline")
def test_a_folder_with_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.jsonl").write_text('{"messages": [\n')
    with pytest.raises(UserError, match=r"split 'train' cannot be loaded \(.*generating the dataset.*\); go online"):
        hub(tmp_path, str(tmp_path / "broken"))


@pytest.mark.parametrize("message", ["", "\n"])
def test_an_error_without_a_message_is_named_by_its_kind(
    message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **_named: object) -> None:
        raise TimeoutError(message)

    monkeypatch.setattr("selectmm.pool.hub.load_dataset", fail)
    with pytest.raises(UserError, match=r"cannot be loaded \(TimeoutError\); go online"):
        hub(tmp_path, str(tmp_path))


@pytest.mark.usefixtures("offline")
def test_a_name_while_offline_is_answered_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UserError) as problem:
        hub(tmp_path, "owner/no-such-data-set")
    assert "Data set 'owner/no-such-data-set' at revision 'main', split 'train' cannot be loaded" in str(problem.value)
    assert str(problem.value).endswith("go online, or download it and set pool.dataset to its folder.")
