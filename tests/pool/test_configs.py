"""The files under configs/pool, and what is known of the pools that papers use."""

import csv
import inspect
from collections import defaultdict
from pathlib import Path

import pytest
import yaml
from hydra.utils import get_method

from selectmm.pool.composition import HERE, known

ROOT = Path(__file__).parents[2]
NAMES = sorted(file.stem for file in (ROOT / "configs" / "pool").glob("*.yaml"))
FOLDER_OF = {"VG": "vg", "GQA": "gqa", "OCR-VQA": "ocr_vqa", "TextCaps": "textvqa", "ShareGPT": "text"}  # else COCO


@pytest.mark.parametrize("name", NAMES)
def test_a_pools_file_names_its_reader_and_every_option_of_it_with_a_word_on_each(name: str) -> None:
    text = (ROOT / "configs" / "pool" / f"{name}.yaml").read_text()
    options = yaml.safe_load(text)
    reader = get_method(options.pop("_target_"))
    assert options.keys() == inspect.signature(reader).parameters.keys()
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if line[0] not in "# " and not line.startswith(("_target_", "cache")):
            assert "#" in line or lines[place - 1].startswith("#"), line


def test_the_known_composition_is_the_published_one() -> None:
    published = defaultdict(dict)
    with (ROOT / "results" / "published" / "scores.csv").open() as stream:
        for row in csv.DictReader(stream):
            if (row["paper"], row["table"]) == ("LLaVA-1.5", "composition"):
                published[FOLDER_OF.get(row["benchmark"], "coco")][row["benchmark"]] = int(row["value"])
    total = published["coco"].pop("total")
    pool = known("llava_665k")
    assert pool.sources == published
    assert pool.rows == total == sum(pool.expected().values()) == 665_298
    visual = known("llava_v_625k")
    assert visual.sources == {name: parts for name, parts in published.items() if name != "text"}
    assert visual.rows == sum(visual.expected().values()) == 624_610


def test_what_is_known_is_known_of_a_pool_that_can_be_chosen() -> None:
    assert {file.stem for file in HERE.glob("*.yaml")} <= set(NAMES)
    assert known("embedded") is None
