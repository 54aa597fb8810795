"""A local benchmark's images lie in its parquet files; one that only names a file is refused before it is opened."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, Value, load_dataset

from selectmm.errors import UserError
from selectmm.evaluation import cells
from selectmm.evaluation.cells import check_cells
from tests.evaluation import hub

CELL = pa.struct({"bytes": pa.binary(), "path": pa.string()})
HELD, NAMED, EMPTY = {"bytes": b"png", "path": "a.png"}, {"bytes": None, "path": "http://host/a.png"}, None
README = """---
dataset_info:
  features:
  - name: question
    dtype: string
  - name: picture
    dtype: image
---
"""
SAID = r"t\.parquet: cells of the column '{}' name files .* would open whatever they name; save it with its files"


def write(folder: Path, found: list, kind: pa.DataType, column: str = "picture") -> None:
    pq.write_table(pa.table({"question": ["?"] * len(found), column: pa.array(found, kind)}), folder / "t.parquet")


def test_the_suites_data_sets_hold_their_images() -> None:
    folders = {file.parent for file in hub.hub().rglob("README.md")}
    assert len(folders) > 5
    for folder in folders:
        check_cells(folder)


@pytest.mark.parametrize(
    ("found", "kind", "column"),
    [
        ([HELD, NAMED], CELL, "picture"),
        ([EMPTY, {"bytes": None, "path": "/etc/passwd"}], CELL, "picture"),
        ([[HELD], [], [HELD, NAMED]], pa.list_(CELL), "picture.list.element"),
        ([{"inner": HELD}, {"inner": NAMED}], pa.struct({"inner": CELL}), "picture.inner"),
    ],
)
def test_a_cell_that_names_a_file(found: list, kind: pa.DataType, column: str, tmp_path: Path) -> None:
    write(tmp_path, found, kind)
    with pytest.raises(UserError, match=SAID.format(column)):
        check_cells(tmp_path)
    write(tmp_path, found[:1], kind)
    check_cells(tmp_path)


def test_bytes_are_read_where_the_file_may_lie_about_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark may have tens of gigabytes of them; nobody keeps a stranger from writing a false count of nulls."""
    read = []
    monkeypatch.setattr(cells, "_lacks", lambda some: read.append(some) or False)
    for path, times in (("COCO_val2014_000000000042.jpg", 0), ("../a.png", 1), ("~/a.png", 1), ("zip://a::b", 1)):
        read.clear()
        write(tmp_path, [{"bytes": b"png", "path": path}], CELL)
        check_cells(tmp_path)
        assert len(read) == times, path
    write(tmp_path, [HELD, EMPTY], CELL)
    check_cells(tmp_path)
    assert len(read) == 2, "the file says that some are missing"


def test_a_column_of_paths_that_is_declared_as_images_by_its_readme(tmp_path: Path) -> None:
    write(tmp_path, ["/etc/passwd"], pa.string())
    check_cells(tmp_path)  # a text
    (tmp_path / "README.md").write_text(README)
    loaded = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache")).features
    assert isinstance(loaded["picture"], Image), "this is what `datasets` makes of it"
    with pytest.raises(UserError, match=SAID.format("picture")):
        check_cells(tmp_path)


def test_what_datasets_writes_is_read(tmp_path: Path) -> None:
    features = Features({"question": Value("string"), "picture": Image()})
    Dataset.from_dict({"question": ["?"], "picture": [HELD]}, features).to_parquet(tmp_path / "t.parquet")
    check_cells(tmp_path)


def test_a_description_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, [HELD], CELL)
    (tmp_path / "README.md").write_text("---\ndataset_info:\n  features:\n  - name: a\n    dtype: nothing\n---\n")
    with pytest.raises(
        UserError, match=r"^The columns that the data set .* describes cannot be read \(.*; mend the fea"
    ):
        check_cells(tmp_path)
