"""Planted copies are found through the real task code, and nothing else is."""

import json
from collections import Counter
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from PIL import Image

from selectmm.command_line.reading import ROOT
from selectmm.commands.contamination import main
from selectmm.contamination.check import check
from selectmm.contamination.page import notes, sentence
from selectmm.contamination.search import Found
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.looking import keeping_pictures
from selectmm.pool.pool import Pool
from selectmm.quickstart.item import Item
from selectmm.quickstart.schemas import write
from selectmm.screen import output
from tests.evaluation.material import items, suite

RNG = np.random.default_rng(5)
PICTURES = [Image.fromarray(RNG.integers(0, 256, (4, 4, 3), np.uint8)).resize((60, 60)) for _ in range(13)]
ITEMS = [Item("kind", f"What colour is thing {n}?", "red", ("red", "blue"), PICTURES[n]) for n in range(12)]
TOLD = "Who of the many people in the long story of the two old towns was right about number"
TEXTS = [Item("kind", f"{TOLD} {n}?", "red", ("red", "blue", "green", "grey"), None) for n in range(12)]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    write({**items(), "sqa_img": ITEMS, "mmlu": TEXTS}, tmp_path / "tasks")
    return tmp_path / "tasks"


def pool_of(folder: Path, rows: list[tuple[str, Image.Image | None]]) -> Pool:
    """A pool of one-question rows."""
    (folder / "images").mkdir(parents=True)
    entries = []
    for n, (question, picture) in enumerate(rows):
        entry: dict[str, object] = {"conversations": [_said("human", question), _said("gpt", "red")]}
        if picture is not None:
            picture.save(folder / "images" / f"{n}.png")
            entry["image"] = f"{n}.png"
        entries.append(entry)
    (folder / "rows.json").write_text(json.dumps(entries))
    return open_llava_json(str(folder / "rows.json"), str(folder / "images"), "stop", folder / "cache")


def _said(who: str, text: str) -> dict[str, str]:
    return {"from": who, "value": text}


def _ask(n: int) -> str:
    return f"What colour is thing {n}?\nA. red\nB. blue\nTell me."


def test_every_kind_of_match_is_counted_once(tasks: Path, tmp_path: Path) -> None:
    rows = [
        (_ask(0), PICTURES[0]),  # the item itself
        (_ask(1), PICTURES[1].resize((45, 45))),  # a smaller copy, asked the same
        (_ask(2), PICTURES[12]),  # the question, about another picture
        ("Describe it.", PICTURES[3]),  # the picture, asked something else
        (f"{TEXTS[5].question}\nA. red\nB. blue\nC. green\nD. grey", None),  # a text item itself
        (f"I wonder {TEXTS[6].question.lower()} Really.", None),  # all its words, its options left out
        ("What else?", None),
    ]
    checked, stages = check(
        pool_of(tmp_path / "pool", rows), suite("sqa_img", "mmlu", folder=tasks), tmp_path / "cache"
    )
    shown = Found(12, 12, same=1, near=1, same_pictures=2, near_pictures=1, same_questions=3, near_questions=0)
    found = Found(12, 0, same=1, near=1, same_questions=1, near_questions=1)
    assert checked.found == {"mini-SQA-IMG": shown, "mini-MMLU": found}
    listed = {entry["item"]: entry for entry in json.loads(checked.listing.read_text())}
    assert {name: entry["rows"] for name, entry in listed.items()} == {
        **{f"mini_sqa_img/{n}": [n] for n in range(4)},
        **{f"mini_mmlu/{n}": [n - 1] for n in (5, 6)},
    }
    assert [listed[f"mini_sqa_img/{n}"]["whole"] for n in range(4)] == ["same", "near", "", ""]
    assert sentence(checked).startswith(
        "of 24 benchmark items 2 are in the pool and 2 nearly; by image alone 2 and 1 nearly, by question alone "
    )
    assert [stage.name for stage in stages] == ["pool-pictures", "suite-items", "contamination"]


def test_picture_and_question_in_different_rows_are_no_item(tasks: Path, tmp_path: Path) -> None:
    pool = pool_of(tmp_path / "pool", [(_ask(0), PICTURES[12]), ("Describe it.", PICTURES[0])])
    checked, _ = check(pool, suite("sqa_img", folder=tasks), tmp_path / "cache")
    assert checked.total == Found(12, 12, same_pictures=1, same_questions=1)


def test_it_is_done_once_and_done_again_for_another_pool_or_suite(tasks: Path, tmp_path: Path) -> None:
    pool, wanted = pool_of(tmp_path / "pool", [(_ask(0), PICTURES[0])]), suite("sqa_img", folder=tasks)
    other = pool_of(tmp_path / "other", [(_ask(0), PICTURES[1])])
    cached = [
        [stage.cached for stage in check(*asked, tmp_path / "cache")[1]]
        for asked in ((pool, wanted), (pool, wanted), (other, wanted), (pool, suite("sqa", folder=tasks)))
    ]
    assert cached == [[False] * 3, [True] * 3, [False, True, False], [True, False, False]]


def test_an_image_is_opened_once_for_the_look_at_it_and_the_check(
    tasks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    opening = Image.open

    def counted(stream: BinaryIO, **named: object) -> Image.Image:
        counts[Path(str(getattr(stream, "name", ""))).name] += 1
        return opening(stream, **named)

    rows = [(_ask(0), PICTURES[0]), (_ask(1), PICTURES[1].resize((45, 45))), ("What else?", None)]
    apart, wanted = pool_of(tmp_path / "apart", rows), suite("sqa_img", folder=tasks)
    assert apart.pictures is None
    expected, (by_decoding, *_) = check(apart, wanted, tmp_path / "cache")
    monkeypatch.setattr(Image, "open", counted)
    with keeping_pictures():
        pool = pool_of(tmp_path / "pool", rows)
    checked, (kept, *_) = check(pool, wanted, tmp_path / "other")
    assert (counts["0.png"], counts["1.png"]) == (1, 1)
    assert checked.found == expected.found
    assert (kept.folder / "pictures.npz").read_bytes() == (by_decoding.folder / "pictures.npz").read_bytes()


def test_a_pool_without_images_says_so(tasks: Path, tmp_path: Path) -> None:
    checked, _ = check(
        pool_of(tmp_path / "pool", [(_ask(0), None)]), suite("sqa_img", folder=tasks), tmp_path / "cache"
    )
    assert checked.total == Found(12, 12, same_questions=1)
    assert notes(checked)[-1] == "The pool has no images, so only questions were looked for."


def test_the_command_looks_for_the_eleven_benchmarks(
    tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SELECTMM_ROOT", str(ROOT))
    pool_of(tmp_path / "pool", [("What color is the shape?", PICTURES[0])])
    place = tmp_path / "pool"
    own = ["pool=llava_json", f"pool.file={place / 'rows.json'}", f"pool.images={place / 'images'}"]
    with output(json=True):
        main([*own, f"suite.tasks={tasks}", "suite.limit=2", f"cache={tmp_path / 'cache'}"])
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert len(document["found"]) == 11 and Path(document["listing"]).exists()
    assert document["total"]["items"] == sum(found["items"] for found in document["found"].values())
    printed = shown.err.split("benchmark ")[1]
    assert printed.count("mini-") == 11
    assert "The items and their rows:" in printed
