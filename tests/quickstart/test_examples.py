"""Examples of the benchmarks share nothing with the pool and nothing with the held-out items."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.quickstart import examples
from selectmm.quickstart.embedded import open_targets
from selectmm.quickstart.items import held_out


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return examples.write(tmp_path_factory.mktemp("targets"))


def rows_of(file: Path) -> list[dict]:
    return json.loads(file.read_text())


def pictures_of(folder: Path) -> set[bytes]:
    return {np.asarray(Image.open(path)).tobytes() for path in folder.iterdir()}


def test_twenty_of_each_benchmark_under_its_name(written: Path) -> None:
    sources = [row["source"] for row in rows_of(written)]
    assert {name: sources.count(name) for name in sources} == dict.fromkeys(examples.NAMES.values(), examples.EACH)


def test_same_bytes_twice(written: Path, tmp_path: Path) -> None:
    assert examples.write(tmp_path).read_bytes() == written.read_bytes()


def test_no_image_and_no_text_question_is_in_the_pool_or_held_out(written: Path, pool_file: Path) -> None:
    shown = pictures_of(written.parent / "images")
    assert not shown & pictures_of(pool_file.parent / "images")
    held = [item for items in held_out().values() for item in items]
    assert not shown & {np.asarray(item.image).tobytes() for item in held if item.image is not None}
    asked = [row["conversations"][0]["value"] for row in rows_of(written) if "image" not in row]
    others = {row["conversations"][0]["value"] for row in rows_of(pool_file) if "image" not in row}
    held_questions = {item.question for item in held if item.image is None and item.kind != "warmth"}
    for prompt in asked:
        if "degrees" not in prompt:  # a day's temperature may return on another day
            assert prompt not in others
            assert not any(question in prompt for question in held_questions)


def test_examples_are_of_the_benchmarks_that_are_run(tmp_path: Path) -> None:
    chosen = open_targets(str(tmp_path), ["mini-SQA", "mini-VizWiz"])
    assert chosen.counts() == {"mini-SQA": 20, "mini-VizWiz": 20}
    with pytest.raises(UserError, match=r"^targets=embedded has examples of no benchmark in suite\.only=\[own-EM\]\.$"):
        open_targets(str(tmp_path), ["own-EM"])
