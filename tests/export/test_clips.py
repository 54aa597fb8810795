"""Rows with clips in the formats of other trainers, and back."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.export.subset import export_subset
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool
from selectmm.pool.sharegpt import open_sharegpt
from tests.clips import write_clip


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    write_clip(tmp_path / "1.mp4", frames=2)
    write_clip(tmp_path / "2.mp4", frames=3)
    Image.new("RGB", (8, 6), "red").save(tmp_path / "1.png")
    said = [("<image>What?", ["1.png"], []), ("<video>Where to?", [], ["1.mp4"]), ("And you?", [], [])]
    said += [("First <video>then <image> and <video>?", ["1.png"], ["1.mp4", "2.mp4"])]
    answer = {"role": "assistant", "content": "It is a circle."}
    rows = [
        {"messages": [{"role": "user", "content": text}, answer], "images": images, "videos": videos}
        for text, images, videos in said
    ]
    return read(tmp_path, "rows.json", rows)


def read(folder: Path, name: str, rows: list[object]) -> Pool:
    (folder / name).write_text(json.dumps(rows))
    return open_sharegpt(str(folder / name), str(folder), "stop", str(folder / f"cache-{name}"), "turn", "source")


@pytest.mark.parametrize("name", ["llama_factory", "ms_swift"])
def test_clips_stand_in_videos_and_are_read_back_as_they_were(name: str, pool: Pool, tmp_path: Path) -> None:
    export_subset(pool, Subset(np.arange(4)), name, tmp_path / "out")
    if name == "ms_swift":
        rows = [json.loads(line) for line in (tmp_path / "out" / "subset.jsonl").read_text().splitlines()]
    else:
        rows = json.loads((tmp_path / "out" / "subset.json").read_text())
        info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["subset"]["columns"]
        assert info == {"messages": "messages", "images": "images", "videos": "videos"}
    assert [row["videos"] for row in rows] == [[], ["1.mp4"], [], ["1.mp4", "2.mp4"]], "every row has the column"
    assert [row["images"] for row in rows] == [["1.png"], [], [], ["1.png"]]
    assert rows[1]["messages"][0]["content"] == "<video>Where to?"
    assert rows[3]["messages"][0]["content"] == "First <video>then <image> and <video>?"
    again = read(tmp_path, f"{name}.json", rows)
    assert [again[row].digest for row in range(4)] == [pool[row].digest for row in range(4)]


def test_a_subset_without_clips_has_no_column_of_them(pool: Pool, tmp_path: Path) -> None:
    export_subset(pool, Subset(np.array([0, 2])), "llama_factory", tmp_path / "out")
    assert "videos" not in (tmp_path / "out" / "subset.json").read_text()
    assert "videos" not in (tmp_path / "out" / "dataset_info.json").read_text()


def test_llava_s_format_has_no_place_for_clips(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"2 of the rows show clips \(first: row 1, 1\.mp4\), which LLaVA's format has no"
    ):
        export_subset(pool, Subset(np.arange(4)), "llava", tmp_path / "out")
    export_subset(pool, Subset(np.array([0, 2])), "llava", tmp_path / "images")
