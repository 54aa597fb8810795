"""Reading a user's LLaVA JSON: what comes in, and what is said of everything that can be wrong with it."""

import json
from pathlib import Path

import pytest
from PIL import Image

from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.reading import content_of
from selectmm.pool.sample import Turn


def row(image: str | None = "a/1.png", answer: str = "red", **more: object) -> dict[str, object]:
    question = {"from": "human", "value": ("<image>\n" if image else "") + "Which colour?"}
    shown = {"image": image} if image else {}
    return {"id": "x", **shown, "conversations": [question, {"from": "gpt", "value": answer}], **more}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    for name in ("a/1.png", "a/2.png"):
        Image.new("RGB", (8, 6), "red").save(root / name)
    return root


def write(folder: Path, rows: object) -> str:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows))
    return str(path)


def test_rows_become_samples_with_the_placeholder_taken_out(tmp_path: Path, images: Path) -> None:
    rows = [row(), row(None), row("a/2.png", source="mine"), row()]
    pool = open_llava_json(write(tmp_path, rows), str(images), "stop", tmp_path / "cache")
    assert [pool[i].source for i in range(4)] == ["a", "text", "mine", "a"]
    assert pool[0].turns == (Turn("user", "Which colour?"), Turn("assistant", "red"))
    assert pool[0].digest == pool[3].digest != pool[2].digest
    assert pool.image_of.tolist() == [0, -1, 1, 0]
    assert pool.images == ["a/1.png", "a/2.png"]
    assert pool.counts() == {"a": 2, "text": 1, "mine": 1}
    assert pool.open_image("a/1.png").size == (8, 6)


def test_the_fingerprint_follows_rows_and_images_and_nothing_else(tmp_path: Path, images: Path) -> None:
    file = write(tmp_path, [row(), row(None)])
    first = open_llava_json(file, str(images), "stop", tmp_path / "cache").fingerprint
    assert open_llava_json(file, str(images), "stop", tmp_path / "elsewhere").fingerprint == first
    Image.new("RGB", (80, 60), "blue").save(images / "a/1.png")
    changed = open_llava_json(file, str(images), "stop", tmp_path / "cache").fingerprint
    assert changed != first
    write(tmp_path, [row(), row()])
    assert open_llava_json(file, str(images), "stop", tmp_path / "cache").fingerprint not in {first, changed}


def test_a_pool_without_blanks_to_strip_keeps_the_name_that_it_had_when_readers_stripped(
    tmp_path: Path, images: Path
) -> None:
    def named(rows: list[object], version: int) -> bool:
        file = write(tmp_path, rows)
        identity = {"reader": "llava_json", "version": version, "sha256": content_of(Path(file))}
        sizes = fingerprint({"sizes": [(images / "a/1.png").stat().st_size]})
        state = {"pool": fingerprint(identity), "images": sizes, "version": 1}
        pool = open_llava_json(file, str(images), "stop", tmp_path / "cache")
        return pool.fingerprint == fingerprint(state)

    assert named([row(), row()], 1)
    assert named([row(), row(answer="red ")], 2)
    late = [
        {"from": who, "value": text} for who, text in zip(["human", "gpt"] * 2, "a b <image>c d".split(), strict=True)
    ]
    assert named([{"image": "a/1.png", "conversations": late}], 2)
    late_pool = open_llava_json(str(tmp_path / "rows.json"), str(images), "stop", tmp_path / "cache")
    assert late_pool[0].image_turn == 2


def test_text_only_rows_can_be_left_out_and_any_field_may_name_the_source(tmp_path: Path, images: Path) -> None:
    file = write(tmp_path, [row(None), row(task="mine"), row()])
    pool = open_llava_json(file, str(images), "stop", tmp_path / "cache", "leave_out", "task")
    assert (pool.counts(), pool.health.left_out) == ({"mine": 1, "a": 1}, 1)
    whole = open_llava_json(file, str(images), "stop", tmp_path / "cache")
    assert whole.counts() == {"a": 2, "text": 1} and whole.fingerprint != pool.fingerprint
    with pytest.raises(UserError, match=r"^The pool has no rows: all were left out; set pool\.text_only=take, or set "):
        open_llava_json(write(tmp_path, [row(None)]), str(images), "stop", tmp_path / "cache", "leave_out")
    with pytest.raises(UserError, match=r"pool\.text_only=drop is not valid; choose take or leave_out\."):
        open_llava_json(file, str(images), "stop", tmp_path / "cache", "drop")


def test_a_row_whose_only_image_is_left_out_with_its_question_gives_the_pool_another_name(
    tmp_path: Path, images: Path
) -> None:
    """Whether the row is taken without its image or is left out for that."""
    spoken = [row(None)["conversations"], row()["conversations"]]
    lost = {"image": "a/1.png", "conversations": [*spoken[0], spoken[1][0]]}
    kept = {"image": "a/1.png", "conversations": [*spoken[1], spoken[0][0]]}
    for rows, taken, left, anew in (([row(), lost], [1, 0], 1, True), ([row(), kept], [1, 1], 0, False)):
        file = write(tmp_path, rows)
        pool = open_llava_json(file, str(images), "stop", tmp_path / "cache")
        assert [len(pool[place].images) for place in range(2)] == taken and pool.health.trimmed == [1]
        only = open_llava_json(file, str(images), "stop", tmp_path / "cache", "leave_out")
        assert (len(only), only.health.left_out) == (2 - left, left)
        sizes = fingerprint({"sizes": [(images / "a/1.png").stat().st_size]})
        before = {"reader": "llava_json", "version": 1, "sha256": content_of(Path(file))}
        for found, more in ((pool, {}), (only, {"text_only": "leave_out"})):
            named = fingerprint({"pool": fingerprint({**before, **more}), "images": sizes, "version": 1})
            assert (found.fingerprint != named) is anew


def test_many_batches_are_one_pool(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selectmm.pool.arrow.ROWS_PER_BATCH", 2)
    rows = [row(("a/1.png", None, "a/2.png")[i % 3], answer=f"{i}", source="xyx"[i % 3]) for i in range(7)]
    pool = open_llava_json(write(tmp_path, rows), str(images), "stop", tmp_path / "cache")
    assert pool.sources.tolist() == [row["source"] for row in rows]
    assert pool.image_of.tolist() == [0, -1, 1, 0, -1, 1, 0]
    assert [pool[i].turns[1].text for i in range(7)] == list("0123456")


def test_a_text_that_cannot_be_written_is_named(tmp_path: Path, images: Path) -> None:
    with pytest.raises(UserError, match=r"Row 1 of .*rows\.json \(id 'x'\) holds half a character"):
        open_llava_json(write(tmp_path, [row(), row(answer="\ud800")]), str(images), "stop", tmp_path / "cache")


def test_bad_rows_stop_with_one_sentence_or_are_dropped_and_counted(tmp_path: Path, images: Path) -> None:
    (images / "a/3.png").write_bytes((images / "a/2.png").read_bytes()[:40])
    rows = [row(), row("a/0.png"), row("a/3.png"), row(answer="  "), row(None)]
    file = write(tmp_path, rows)
    with pytest.raises(UserError) as problem:
        open_llava_json(file, str(images), "stop", tmp_path / "cache")
    for part in (
        "1 row with a missing image (first: row 1 (id 'x'), a/0.png)",
        "1 row with a broken image (first: row 2 (id 'x'), a/3.png)",
        "1 row with an empty answer (first: row 3 (id 'x'), a/1.png)",
        "pool.bad_rows=drop",
    ):
        assert part in str(problem.value)
    pool = open_llava_json(file, str(images), "drop", tmp_path / "cache")
    assert len(pool) == 2
    assert pool.health.rows == 5
    assert pool.health.bad == [1, 2, 3]
    assert pool.image_of.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"rows": []}, "holds no list of rows"),
        ([], "holds no list of rows"),
        ([row(), {"text": "…"}], "Row 1 of"),
        ([row(), {"text": "…"}], "has no list 'conversations'"),
        ([{"conversations": [{"from": "system", "value": "x"}]}], "has a system turn ('x'); set pool.system=turn"),
        (
            [{"conversations": [{"from": "tool", "value": "x"}]}],
            "every result of a tool its call",
        ),
        ([{"conversations": [{"role": "user", "content": "x"}]}], "no 'from' but 'role', which pool=sharegpt reads"),
        ([{"messages": [{"role": "user", "content": "x"}]}], "but 'messages', which pool=sharegpt reads"),
        ([{"conversations": [{"from": "human", "value": "x"}]}], "does not alternate human and gpt"),
        ([{"conversations": []}], "has no list 'conversations', or it is empty"),
        (
            [row(["a/1.png", "a/2.png"])],
            "for 2 images; give as many of the one as of the other",
        ),
    ],
)
def test_what_is_not_llava_json_is_named(tmp_path: Path, images: Path, rows: object, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("(", r"\(").replace(")", r"\)")):
        open_llava_json(write(tmp_path, rows), str(images), "stop", tmp_path / "cache")


def test_a_file_that_is_not_json_and_files_that_are_not_there_are_named(tmp_path: Path, images: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('[{"id": 1')
    with pytest.raises(UserError, match=r"broken\.json is not JSON"):
        open_llava_json(str(broken), str(images), "stop", tmp_path / "cache")
    with pytest.raises(UserError, match=r"There is no pool file .*none\.json; set pool\.file"):
        open_llava_json(str(tmp_path / "none.json"), str(images), "stop", tmp_path / "cache")
    with pytest.raises(UserError, match=r"There is no image folder .*nowhere; set pool\.images"):
        open_llava_json(str(broken), str(tmp_path / "nowhere"), "stop", tmp_path / "cache")


@pytest.mark.parametrize("path", ["../secret.png", "/etc/hostname", "a/../../secret.png", "a/../a/1.png"])
def test_image_paths_never_leave_their_root(tmp_path: Path, images: Path, path: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    with pytest.raises(UserError, match="leaves the image folder"):
        open_llava_json(write(tmp_path, [row(path)]), str(images), "drop", tmp_path / "cache")
