"""The pool is LLaVA's JSON, the same bytes each time, and shares nothing with the held-out items."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool.llava_json import open_llava_json
from selectmm.quickstart import pool
from selectmm.quickstart.item import Item
from selectmm.quickstart.items import MME, held_out

Items = dict[str, list[Item]]


@pytest.fixture(scope="module", params=[1, 4], ids=["mini", "mini_large"])
def items(request: pytest.FixtureRequest) -> Items:
    return held_out(request.param)


def test_fewer_rows_are_a_fixed_draw_of_all_and_every_file_has_the_same_bytes_twice(
    pool_file: Path, tmp_path: Path
) -> None:
    one, other = (pool.write(tmp_path / name, 300) for name in "ab")
    assert one.read_bytes() == other.read_bytes()
    for image in (one.parent / "images").iterdir():
        assert image.read_bytes() == (pool_file.parent / "images" / image.name).read_bytes()
    some, everything = (json.loads(file.read_text()) for file in (one, pool_file))
    numbers = [everything.index(entry) for entry in some]
    assert len(some) == 300 and numbers == sorted(numbers)
    assert len({entry["source"] for entry in some}) >= 15, "a uniform draw meets most of the eighteen sources"
    assert len({entry["image"] for entry in some if "image" in entry}) == len(list((one.parent / "images").iterdir()))


@pytest.mark.parametrize("keep", [0, 5000])
def test_more_rows_than_there_are(tmp_path: Path, keep: int) -> None:
    with pytest.raises(UserError, match=rf"has 4,170 rows; {keep:,} of them cannot be used"):
        pool.write(tmp_path, keep)


def test_our_reader_opens_it_whole(pool_file: Path, tmp_path: Path) -> None:
    opened = open_llava_json(str(pool_file), str(pool_file.parent / "images"), "stop", tmp_path)
    assert len(opened) == len(json.loads(pool_file.read_text()))
    assert 4000 <= len(opened) <= 5000 and len(opened.counts()) >= 8


def test_it_is_skewed_as_real_pools_are(pool_file: Path) -> None:
    rows = json.loads(pool_file.read_text())
    counts = Counter(row["source"] for row in rows)
    assert sum(n for _, n in counts.most_common(4)) > len(rows) / 2
    assert any("image" not in row for row in rows) and any(len(row["conversations"]) > 2 for row in rows)
    assert len({row.get("image") for row in rows}) < 0.8 * len(rows)  # many questions share an image


def test_no_image_and_no_text_row_is_asked_again(pool_file: Path, items: Items) -> None:
    rows = json.loads(pool_file.read_text())
    pictures = {np.asarray(Image.open(p)).tobytes() for p in (pool_file.parent / "images").iterdir()}
    prompts = "\n".join(row["conversations"][0]["value"] for row in rows if "image" not in row)
    for item in (item for some in items.values() for item in some):
        if item.image is not None:
            assert np.asarray(item.image).tobytes() not in pictures
        elif item.kind not in ("warmth",):  # a day's temperature may return on another day
            assert item.question not in prompts


def test_the_eleven_are_there_and_fit_their_schemas(items: Items) -> None:
    assert len(items) == 11 and all(len(some) >= 80 for some in items.values())
    for name, some in items.items():
        for item in some:
            assert (item.answer in item.options) if item.options else item.answer
        if name in ("pope", "mme"):
            assert Counter(item.answer for item in some)["yes"] == len(some) / 2
    assert all(len(item.options) == 4 for item in items["mmlu"] + items["hellaswag"])
    assert all(item.image is None for item in items["mmlu"] + items["mmlu_pro"] + items["hellaswag"])


def test_mme_asks_each_image_twice_under_mmes_own_names(items: Items) -> None:
    for first, second in zip(items["mme"][::2], items["mme"][1::2], strict=True):
        assert first.image is second.image and first.kind == second.kind
        assert (first.answer, second.answer) == ("yes", "no")
    assert {item.kind for item in items["mme"]} == set(MME.values())
