"""What is found when a pool's images are looked at, and the names that pools keep."""

import json
import shutil
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.cache.provenance import SWEEP_NAME
from selectmm.cache.side_by_side import WAITING, side_by_side
from selectmm.cache.stage import fingerprint
from selectmm.errors import UserError
from selectmm.pool import image, looking
from selectmm.pool.image import open_image, size_of
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.looking import Looks, keeping_pictures, look_at_all
from selectmm.pool.pictures import look_at
from selectmm.pool.pool import Pool
from tests.pool.test_image import png


def talk(image: str | None, number: int) -> dict[str, object]:
    said = [{"from": "human", "value": "What is this?"}, {"from": "gpt", "value": "A dog."}]
    return {"id": f"n{number}", "conversations": said, **({"image": image} if image else {})}


def opened(folder: Path, names: list[str | None], bad_rows: str = "stop") -> Pool:
    (folder / "rows.json").write_text(json.dumps([talk(name, number) for number, name in enumerate(names)]))
    return open_llava_json(str(folder / "rows.json"), str(folder / "images"), bad_rows, folder / "cache")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for name, width in (("a.bmp", 6), ("b.bmp", 8)):  # BMP: its size in bytes follows from its pixels alone
        Image.new("RGB", (width, 4), "red").save(images / name)
    (images / "cut.bmp").write_bytes((images / "a.bmp").read_bytes()[:60])
    (images / "page.bmp").write_text("<html>404")
    (images / "text.png").write_bytes(png(1, 1, 8, 2, [b"\1\2\3"], (b"zTXt", b"k\0\0" + zlib.compress(bytes(2**21)))))
    (images / "grey16.png").write_bytes(png(2, 1, 16, 0, [struct.pack(">2H", 0, 65_535)]))
    (images / "loop.png").symlink_to(images / "loop.png")
    return tmp_path


def test_pools_keep_the_names_that_they_had_at_commit_36fb2c8(place: Path) -> None:
    names = ["a.bmp", "b.bmp", None, "a.bmp"]
    assert opened(place, names).fingerprint == "e831f6caaed39826"
    dropped = opened(place, [*names, "cut.bmp", "page.bmp", "none.bmp"], "drop")
    assert dropped.fingerprint == "7c06b4c4c6ee8877"


def test_a_pool_with_wide_pixels_is_another_one(place: Path) -> None:
    """They once were cut off at 255: what was computed from such images must not be found in the cache again."""
    pool = opened(place, ["a.bmp", "grey16.png"])
    read = json.loads(next((place / "cache" / "pool-look").glob("*/stage.json")).read_text())
    before = {key: read["identity"][key] for key in ("pool", "images", "version")}
    assert read["fingerprint"] == pool.fingerprint != fingerprint(before)
    assert np.asarray(pool.open_image("grey16.png"))[0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize("problem", [TimeoutError("slow"), OSError(5, "Input/output error"), MemoryError()])
def test_an_image_that_cannot_be_read_now_is_not_called_broken(
    problem: Exception, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found of images is cached, so the row would be gone for ever."""
    whole = image._opened

    def failing(path: object) -> object:
        if path.name == "b.bmp":
            raise problem
        return whole(path)

    monkeypatch.setattr(image, "_opened", failing)
    reason = "Input/output error" if problem.args[:1] == (5,) else type(problem).__name__
    with pytest.raises(
        UserError, match=rf"Image 'b\.bmp' in .*images cannot be read now \({reason}\)\. No row was left"
    ):
        opened(place, ["a.bmp", "b.bmp"], "drop")
    monkeypatch.undo()
    assert len(opened(place, ["a.bmp", "b.bmp"], "drop")) == 2


def test_an_image_that_is_gone_when_it_is_looked_at_is_not_called_broken(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when sizes were asked for, and may be there again, of the same size."""
    whole = (place / "images" / "b.bmp").read_bytes()
    monkeypatch.setattr(looking, "size_of", lambda root, path: (size_of(root, path), (root / path).unlink())[0])
    with pytest.raises(UserError, match=r"b\.bmp is missing; put it there"):
        opened(place, ["b.bmp"], "drop")
    monkeypatch.undo()
    (place / "images" / "b.bmp").write_bytes(whole)
    assert len(opened(place, ["b.bmp"], "drop")) == 1


def test_every_broken_image_is_counted_and_dropped(place: Path) -> None:
    names = ["a.bmp", "cut.bmp", "page.bmp", "text.png", "loop.png", "none.bmp", None, "b.bmp", "a.bmp"]
    with pytest.raises(UserError) as caught:
        opened(place, names)
    assert "2 rows with a missing image (first: row 4 (id 'n4'), loop.png)" in str(caught.value)
    assert "3 rows with a broken image (first: row 1 (id 'n1'), cut.bmp). The first broken image: image" in str(
        caught.value
    )
    pool = opened(place, names, "drop")
    assert pool.health.broken_image == [1, 2, 3] and pool.health.truncated_image == [1]
    assert pool.health.missing_image == [4, 5]
    assert [pool.named(row) for row in range(4)] == [f"row {n} (id 'n{n}')" for n in (0, 6, 7, 8)]
    assert pool.images == ["a.bmp", "b.bmp"] and pool.sizes.tolist() == [[6, 4], [8, 4]]
    assert opened(place, names, "keep").sizes.tolist() == [[6, 4], [6, 4], [0, 0], [0, 0], [0, 0], [0, 0], [8, 4]]


def test_sources_are_numbered_by_name_without_writing_them_out(place: Path) -> None:
    rows = [talk(None, number) | {"source": name} for number, name in enumerate(["b", "é", "a", "B", "a", "b"])]
    (place / "rows.json").write_text(json.dumps(rows))
    pool = open_llava_json(str(place / "rows.json"), str(place / "images"), "stop", place / "cache")
    assert pool.source_of.tolist() == [2, 3, 1, 0, 1, 2]  # B, a, b, é
    assert pool.source_of.tolist() == np.unique(pool.sources.astype(str), return_inverse=True)[1].tolist()


def test_little_waits_at_a_time() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(1, 1_001):
            taken = item
            yield item

    for number, square in enumerate(side_by_side(lambda item: item**2, items(), threads=3), start=1):
        assert square == number**2
        assert taken - number < 3 * WAITING
    assert number == 1_000


def test_pictures_are_those_of_the_rows_that_are_left(place: Path) -> None:
    names = ["cut.bmp", "b.bmp", None, "page.bmp", "a.bmp", "b.bmp", "none.bmp", "grey16.png"]
    with keeping_pictures():
        pool = opened(place, names, "drop")
    left = pool.without([0], "less")  # the first row of b.bmp, which another row shows later
    for some, paths in ((pool, ["b.bmp", "a.bmp", "grey16.png"]), (left, ["a.bmp", "b.bmp", "grey16.png"])):
        assert some.images == paths
        expected = look_at([open_image(place / "images", path) for path in paths])
        kept = some.pictures.read()
        for column in ("digests", "hashes", "thumbnails"):
            assert np.array_equal(getattr(kept, column), getattr(expected, column))
    with keeping_pictures():
        assert opened(place, names, "keep").pictures is None  # there are none of the bad ones


def test_what_a_killed_look_kept_of_pictures_is_not_used_by_one_that_keeps_none(place: Path) -> None:
    pool = opened(place, ["a.bmp"])
    for wanted in (True, False):
        look_at_all(pool, np.array([1]), place, pictures=wanted)
        assert (Looks.read(place).pictures is not None) == wanted


def test_a_cache_in_which_only_headers_were_read_yet_is_used(place: Path) -> None:
    """As versions before 2026-11-29 left it when they were killed between their two passes."""
    names = ["a.bmp", "cut.bmp", "none.bmp"]
    pool = opened(place, names, "drop")
    (headers,) = (place / "cache" / "pool-headers").glob("*/headers.npz")
    seen = np.load(headers)
    np.savez(headers, sides=seen["sides"], modes=seen["modes"])
    shutil.rmtree(place / "cache" / "pool-look")
    again = opened(place, names, "drop")
    assert (again.health, again.fingerprint) == (pool.health, pool.fingerprint)


def test_jobs_of_a_sweep_ask_for_the_images_sizes_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(root: Path, image: str) -> int | None:
        asked.append(image)
        return size_of(root, image)

    monkeypatch.setattr(looking, "size_of", counted)
    names, found = ["a.bmp", "b.bmp", "none.bmp"], []
    for sweep in ("one", "one", "other", None, None, "", ""):
        monkeypatch.setenv(SWEEP_NAME, sweep) if sweep is not None else monkeypatch.delenv(SWEEP_NAME, False)
        found.append(opened(place, names, "drop").fingerprint)
    assert asked == names * 6 and len(set(found)) == 1
    Image.new("RGB", (9, 9), "red").save(place / "images" / "a.bmp")
    assert opened(place, names, "drop").fingerprint not in found
    monkeypatch.setenv(SWEEP_NAME, "third")
    assert opened(place, names, "drop").fingerprint not in found
