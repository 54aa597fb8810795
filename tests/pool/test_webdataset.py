"""Rows and their images side by side in WebDataset's shards."""

import io
import json
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.pool.webdataset import open_webdataset
from tests.clips import write_clip
from tests.pool.kept_images import contents, picture, tar_of


def said(image: bool = True) -> list[dict[str, str]]:
    question = "<image>\nWhat is this?" if image else "Two?"
    return [{"from": "human", "value": question}, {"from": "gpt", "value": "A picture."}]


def test_rows_and_images_of_webdataset_shards_are_a_pool(tmp_path: Path) -> None:
    """Of every key the JSON is a row: with the image beside it, with two, with one that it names, and with none."""
    files, two = contents(), [{"from": "human", "value": "<image><image>\nWhat?"}, {"from": "gpt", "value": "Two."}]
    tar_of(
        tmp_path / "0.tar",
        [
            ("a/1.png", files["coco/000.png"]),
            ("a/1.json", json.dumps({"conversations": said(), "source": "mine"}).encode()),
            ("a/2.json", json.dumps({"id": 0, "conversations": two}).encode()),
            ("a/2.1.png", files["coco/002.png"]),
            ("a/2.jpg", files["loose.jpg"]),
        ],
    )
    chat = [{"role": "user", "content": "<image>What?"}, {"role": "assistant", "content": "It."}]
    tar_of(
        tmp_path / "1.tar",
        [
            ("b.json", json.dumps({"messages": chat, "images": ["a/1.png"]}).encode()),
            ("c.json", json.dumps({"conversations": said(image=False)}).encode()),
            ("d.json", b"{no JSON"),
            ("e.txt", b"passed over"),
        ],
    )
    options = {"cache": str(tmp_path / "cache"), "system": "turn", "source": "source"}
    pool = open_webdataset(f"{tmp_path}/*.tar", "drop", **options)
    assert [[image.path for image in pool[row].images] for row in range(len(pool))] == [
        ["a/1.png"],
        ["a/2.jpg", "a/2.1.png"],
        ["a/1.png"],
        [],
    ]
    assert [pool.place_of(row)["id"] for row in range(4)] == ["a/1", "0", "b", "c"]
    assert pool.sources.tolist() == ["mine", "a", "a", "text"]
    assert pool.open_image("a/1.png").tobytes() == picture(0).tobytes()
    with pytest.raises(UserError, match=r"1 rows? with JSON that cannot be read \(first: .*'d\.json in .*1\.tar'"):
        open_webdataset(f"{tmp_path}/*.tar", "stop", **options)


def test_images_beside_a_row_are_shown_as_they_are_numbered(tmp_path: Path) -> None:
    """The one without a number first, 2 before 10, and equal numbers by name."""
    names = ["k.png", "k.0.png", "k.1.png", "k.2.jpg", "k.2.png", "k.10.png", "k.view2.png", "k.view10.png"]
    row = {"conversations": [{"from": "human", "value": "<image>" * 8 + "What?"}, {"from": "gpt", "value": "Eight."}]}
    pixels = contents()["coco/000.png"]
    tar_of(tmp_path / "0.tar", [("k.json", json.dumps(row).encode()), *((name, pixels) for name in sorted(names))])
    pool = open_webdataset(str(tmp_path / "0.tar"), "stop", str(tmp_path / "cache"), "stop", "source")
    assert [image.path for image in pool[0].images] == names


def test_whatever_is_read_is_found_beside_a_row_and_the_rest_is_counted(tmp_path: Path) -> None:
    """Images of every format, clips, and rows whose ending is in capitals."""
    chat, pixels = {"conversations": said()}, io.BytesIO()
    film = {"conversations": [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A film."}]}
    picture(0).save(pixels, "TGA")
    write_clip(tmp_path / "clip.mp4")
    tar_of(
        tmp_path / "0.tar",
        [
            ("0.json", json.dumps(chat).encode()),
            ("0.tga", pixels.getvalue()),
            ("1.JSON", json.dumps(chat).encode()),
            ("1.PNG", contents()["coco/000.png"]),
            ("1.txt", b""),
            ("1.pfm", b""),
            ("2.json", json.dumps(film).encode()),
            ("2", b""),
            ("2.mp4", (tmp_path / "clip.mp4").read_bytes()),
            ("2.txt", b""),
        ],
    )
    pool = open_webdataset(str(tmp_path / "0.tar"), "stop", str(tmp_path / "cache"), "stop", "source")
    assert [pool[row].image for row in range(3)] == ["0.tga", "1.PNG", "2.mp4"] and pool[2].images[0].video
    counted = {"pfm file beside it": 1, "txt file beside it": 2, "another file beside it": 1}
    assert pool.health.fields == counted and pool.health.unplaced == []
    assert pool.open_image("0.tga").tobytes() == picture(0).tobytes()


def test_tars_without_rows_are_told_of_by_their_own_option(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "a.tar", [("a.png", contents()["coco/000.png"])])
    with pytest.raises(UserError, match=r"^The pool has no rows; set pool\.tars to what has some\.$"):
        open_webdataset(str(tar), "stop", str(tmp_path / "cache"), "turn", "source")


def test_a_row_whose_files_lie_apart_is_refused(tmp_path: Path) -> None:
    """As plain tar leaves them, in the own order; files without a row, and other tars, may have a key again."""
    row, pixels = json.dumps({"conversations": said()}).encode(), contents()["coco/000.png"]
    options = {"bad_rows": "stop", "cache": str(tmp_path / "cache"), "system": "stop", "source": "source"}
    for files in (["a.json", "b.json", "a.png", "b.png"], ["a.png", "b.png", "b.json", "a.json"]):
        tar_of(tmp_path / "0.tar", [(name, row if name.endswith("json") else pixels) for name in files])
        with pytest.raises(
            UserError, match=r"^The files of 'a' do not lie together in .*0\.tar, .* tar --sort=name\.$"
        ):
            open_webdataset(f"{tmp_path}/0.tar", **options)
    good = [("x.1.png", pixels), ("a.json", row), ("a.png", pixels), ("x.2.png", pixels), ("b.json", row)]
    tar_of(tmp_path / "0.tar", good)
    tar_of(tmp_path / "1.tar", [("b.png", pixels), ("c.txt", b""), ("a.txt", b"")])
    pool = open_webdataset(f"{tmp_path}/*.tar", **options)
    assert [pool[position].image for position in range(len(pool))] == ["a.png", "b.png"]
