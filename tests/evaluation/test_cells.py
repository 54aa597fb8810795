"""Local benchmark data hold their images; one that they only name is not opened, in whatever way they name it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Image, List, load_dataset
from PIL import Image as Pillow

from selectmm.errors import UserError
from selectmm.evaluation import multimodal
from selectmm.evaluation.cells import held_alone
from selectmm.evaluation.suite import Benchmark
from selectmm.evaluation.tasks import rendered
from tests.evaluation import hub
from tests.evaluation.material import answering, said

README = "---\ndataset_info:\n  features:\n  - name: picture\n    dtype: image\n---\n"
TOLD = r"^Benchmark data in .* name the file '.*secret\.png' instead of holding it, and only what they hold is opened;"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    """An image that is not the data's."""
    Pillow.new("RGB", (2, 2), "red").save(tmp_path / "secret.png")
    return str(tmp_path / "secret.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def parquet(folder: Path, cell: object, kind: pa.DataType, metadata: dict | None = None) -> None:
    pq.write_table(pa.table([pa.array([cell], kind)], pa.schema([("picture", kind)], metadata)), folder / "t.parquet")


def shown(folder: Path) -> object:
    """The first picture, as a harness sees it."""
    return load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"))[0]["picture"]


def as_text(folder: Path, secret: str) -> None:
    parquet(folder, secret, pa.string())
    (folder / "README.md").write_text(README)


def as_a_path_alone(folder: Path, secret: str) -> None:
    parquet(folder, {"path": secret}, pa.struct({"path": pa.string()}))
    (folder / "README.md").write_text(README)


def as_a_cell(folder: Path, secret: str) -> None:
    features = Features({"picture": Image()})
    parquet(
        folder, {"bytes": None, "path": secret}, features.arrow_schema.field(0).type, features.arrow_schema.metadata
    )


def in_a_list(folder: Path, secret: str) -> None:
    schema = Features({"picture": List(Image())}).arrow_schema
    parquet(folder, [{"bytes": None, "path": secret}], schema.field(0).type, schema.metadata)


def as_json(folder: Path, secret: str) -> None:
    (folder / "t.jsonl").write_text(json.dumps({"picture": secret}))
    (folder / "README.md").write_text(README)


def by_another_description(folder: Path, secret: str) -> None:
    parquet(folder, secret, pa.string())
    (folder / ".huggingface.yaml").write_text(README.strip("-\n"))


@pytest.mark.parametrize("write", [as_text, as_a_path_alone, as_a_cell, in_a_list, as_json, by_another_description])
def test_an_image_that_data_only_name_is_not_opened(
    write: Callable[[Path, str], None], folder: Path, secret: str
) -> None:
    write(folder, secret)
    assert "size=2x2" in str(shown(folder)), "`datasets` opens it"
    with held_alone(folder), pytest.raises(UserError, match=TOLD):
        shown(folder)
    assert "size=2x2" in str(shown(folder)), "after the block all is as before"


def test_images_that_data_hold_are_opened_and_nothing_else_changes(folder: Path, secret: str) -> None:
    held = {"bytes": Path(secret).read_bytes(), "path": "http://host/a.png"}
    Dataset.from_dict({"picture": [held, None]}, Features({"picture": Image()})).to_parquet(folder / "t.parquet")
    with held_alone(folder):
        pictures = load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"))["picture"]
        assert [str(picture.size) if picture else None for picture in pictures] == ["(2, 2)", None]


def test_a_harnesss_own_task_does_not_open_one(tmp_path: Path, secret: str) -> None:
    """ScienceQA's real task code on the built-in items, with one picture taken out of its cell."""
    data = shutil.copytree(hub.hub(), tmp_path / "hub")
    (file,) = data.rglob("ScienceQA-FULL-test.parquet")
    table = pq.read_table(file)
    cells, field = table["image"].to_pylist(), table.schema.field("image")
    cells[next(number for number, cell in enumerate(cells) if cell is not None)] = {"bytes": None, "path": secret}
    place = table.schema.get_field_index("image")
    pq.write_table(table.set_column(place, field, [pa.array(cells, field.type)]), file)
    made = Benchmark("scienceqa", "lmms-eval", "scienceqa", "exact_match", 100, None)
    with rendered(None, [made], data) as tasks, pytest.raises(UserError, match=TOLD):
        answer = answering(said("sqa", lambda _: True))
        multimodal.run([made], tasks, answer, limit=None, max_new_tokens=8, images="shown", seed=0)
