"""What the doctor finds in a pool with one fault of every kind, each counted by hand."""

import io
import json
from pathlib import Path
from threading import Lock

import pytest
from PIL import Image

from selectmm.cache.progress import PrintableConsole
from selectmm.pool import doctor
from selectmm.pool.composition import Composition
from selectmm.pool.doctor import Finding, Limit, diagnose
from selectmm.pool.doctor_page import Report, show
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.looking import look_at_image
from selectmm.pool.pool import Pool
from selectmm.pool.sharegpt import open_sharegpt


def talk(question: str, answer: str, image: str | None = None, **more: object) -> dict[str, object]:
    said = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": said, **({"image": image} if image else {}), **more}


ROWS = [
    talk("<image>What?", "A dog.", "coco/good.png", id=1),
    talk("<image>What?", "A dog.", "coco/none.png", id=1),
    talk("<image>What?", "A dog.", "coco/cut.png", id=2),
    talk("<image>What?", "A dog.", "coco/page.png", id=3),
    talk("<image>What?", "A dog.", "coco/good.png", id=4),  # row 0 again
    talk("What?", " \n", id=5),
    talk("Two?", "caf\u00c3\u00a9"),  # é, read as Latin-1
    talk("Two?", "don\ufffdt"),
    talk("In HTML, <image> is?", "An element, café…"),
    talk("What is it?", "A cat.", "coco/good.png"),  # nobody mentions the image
    {**talk("Hello", "Hi", "gqa/good.png"), "conversations": 2 * talk("Hello", "Hi")["conversations"]},
    talk("word " * 40, "Long."),
]
ROWS[10]["conversations"][2] = {"from": "human", "value": "This?<image>"}


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    images = tmp_path / "images"
    for folder in ("coco", "gqa"):
        (images / folder).mkdir(parents=True)
        Image.effect_noise((64, 64), 50).convert("RGB").save(images / folder / "good.png")
    content = (images / "coco" / "good.png").read_bytes()
    (images / "coco" / "cut.png").write_bytes(content[: len(content) // 2])
    (images / "coco" / "page.png").write_text("<html>404")
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    return open_llava_json(str(tmp_path / "rows.json"), str(images), "keep", tmp_path / "cache")


def found(pool: Pool, limit: Limit | None = None, bad_rows: str = "stop") -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnose(pool, None, limit or Limit(100), bad_rows)}


def test_one_fault_of_every_kind_is_counted(pool: Pool) -> None:
    assert {name: (finding.count, finding.weight) for name, finding in found(pool).items()} == {
        "missing image": (1, "blocks"),
        "truncated image": (1, "blocks"),
        "unreadable image": (1, "blocks"),
        "empty answer": (1, "blocks"),
        "likely encoding damage": (2, "look"),
        "longer than 100 characters": (1, "look"),
        "same content again": (1, "look"),
        "image that no turn mentions": (1, "look"),
        "<image> said without an image": (1, "look"),
        "image in a later question": (1, "look"),
        "same id again": (1, "note"),
        "text-only": (5, "note"),
    }


def test_an_image_of_the_first_question_is_in_no_later_one_whatever_stands_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system prompt and tools are turns, too."""
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    asked, answer = {"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "A dog."}
    tools = {"tools": [{"name": "look"}], "system": "Be brief."}
    plain, image = {"role": "user", "content": "Hello"}, {"images": ["1.png"]}
    rows = [
        {"messages": [asked, answer], **image, **tools},
        {"messages": [asked, answer], **image},
        {"messages": [plain, answer], **tools},
        {"messages": [plain, answer, asked, answer], **image, **tools},
        {"messages": [plain, answer, asked, answer], **image},
    ]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    cache = str(tmp_path / "cache")
    monkeypatch.setattr("selectmm.pool.arrow.ROWS_PER_BATCH", 2)
    pool = open_sharegpt(str(tmp_path / "rows.json"), str(tmp_path), "stop", cache, "turn", "source")
    assert found(pool)["image in a later question"].examples == ["row 3, 1.png", "row 4, 1.png"]
    assert doctor._later(pool.table.slice(3)) == [0, 1]


def test_examples_name_the_rows_and_their_images(pool: Pool) -> None:
    shown = {name: finding.examples for name, finding in found(pool).items()}
    assert shown["missing image"] == ["row 1 (id '1'), coco/none.png"]
    assert shown["truncated image"] == ["row 2 (id '2'), coco/cut.png"]
    assert shown["same content again"] == ["row 4 (id '4'), coco/good.png"]
    assert shown["likely encoding damage"] == ["row 6", "row 7"]
    assert shown["image in a later question"] == ["row 10, gqa/good.png"]
    assert shown["text-only"] == ["row 5 (id '5')", "row 6", "row 7"]


def test_what_a_run_would_drop_does_not_block_it(pool: Pool) -> None:
    assert {finding.weight for finding in found(pool, bad_rows="drop").values()} == {"look", "note"}


def test_tokens_are_counted_where_a_row_may_be_too_long(pool: Pool) -> None:
    asked: list[str] = []

    def words(texts: list[str]) -> list[int]:
        asked.extend(texts)
        return [len(text.split()) for text in texts]

    in_tokens, in_characters = found(pool, Limit(40, "tokens", words, "model=a and recipe=b")), found(pool)
    assert in_tokens["longer than 40 tokens"].advice.startswith("They are cut in training with model=a and recipe=b, ")
    assert in_characters["longer than 100 characters"].advice == (
        "Give model=… and recipe=… as well; then tokens are counted, and compared with recipe.max_length."
    )
    assert found(pool, Limit(40, "tokens", words))["longer than 40 tokens"].examples == ["row 11"]  # 40 words and one
    assert "longer than 41 tokens" not in found(pool, Limit(41, "tokens", words))
    assert all(len(text) > 3 for text in asked) and "A dog." not in asked


def test_states_of_images(pool: Pool) -> None:
    there = [place for place, path in enumerate(pool.images) if path != "coco/none.png"]
    looks = {pool.images[place]: look_at_image(pool, place, Lock(), pictures=False) for place in there}
    assert {path: look.state for path, look in looks.items()} == {
        "coco/good.png": "good",
        "coco/cut.png": "truncated",
        "coco/page.png": "unreadable",
        "gqa/good.png": "good",
    }


def test_what_differs_from_the_published_pool_is_told(pool: Pool) -> None:
    expected = Composition(12, {"coco": {"a": 4, "b": 3}, "text": {"c": 5}, "vg": {"d": 1}}, ["coco", "vg/VG_100K"])
    by_name = {finding.name: finding for finding in diagnose(pool, expected, Limit(), "stop")}
    assert by_name["not as published"].examples == ["coco -1", "vg -1", "gqa +1"]
    assert by_name["image folders not there"].examples == ["vg/VG_100K"]


def test_a_looked_at_pool_is_not_looked_at_again_and_nothing_is_changed(pool: Pool, tmp_path: Path) -> None:
    looks = list((tmp_path / "cache" / "pool-look").iterdir())
    dropped = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path / "images"), "drop", tmp_path / "cache")
    assert list((tmp_path / "cache" / "pool-look").iterdir()) == looks
    assert (len(pool), len(dropped)) == (12, 8)
    assert json.loads((tmp_path / "rows.json").read_text()) == ROWS


def test_the_page_shows_counts_findings_and_a_verdict(pool: Pool) -> None:
    expected = Composition(12, {"coco": {"a": 7}, "text": {"b": 5}}, [])
    findings = diagnose(pool, expected, Limit(), "stop")
    report = Report("mine", None, len(pool), len(pool.images), pool.counts(), expected, findings)
    console = PrintableConsole(200, io.StringIO())
    show(report, console)
    page = console.file.getvalue()
    for part in (
        "mine: 12 rows, 5 images",
        "a 7",
        "-1",
        "row 2 (id '2'), coco/cut.png",
        "8.33%",
        "pool.bad_rows=drop",
        "would stop",
    ):
        assert part in page
    assert json.loads(json.dumps(report.as_json()))["blocked"]
    console = PrintableConsole(200, io.StringIO())
    show(Report("mine", "Row 3 has [no] image.", 0, 0, {}, None, []), console)
    assert "cannot be read.\nRow 3 has [no] image." in console.file.getvalue()
    console = PrintableConsole(200, io.StringIO())
    show(Report("mine", None, 1, 0, {"text": 1}, None, []), console)
    assert console.file.getvalue().endswith("No problem was found.\nNothing here stops a run.\n")


def test_shares_are_of_all_rows_also_those_that_cannot_be_read(tmp_path: Path) -> None:
    rows = [talk("What?", "A dog."), talk("What?", " "), talk("Two?", "3."), {"conversations": 2}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    pool = open_llava_json(str(tmp_path / "rows.json"), str(tmp_path), "keep", tmp_path / "cache")
    findings = diagnose(pool, None, Limit(), "stop")
    assert {finding.of for finding in findings} == {4}
    console = PrintableConsole(200, io.StringIO())
    show(Report("mine", None, len(pool), 0, pool.counts(), None, findings), console)
    assert "mine: 4 rows, 1 of them cannot be read, 0 images" in console.file.getvalue()
