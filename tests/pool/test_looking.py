"""A look at a pool's images goes on where a killed one stopped."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool import looking, reading
from selectmm.pool.columns import _kept
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.looking import Look, keeping_pictures, look_at_image
from selectmm.pool.pool import Pool

NOTED = 16  # here, instead of hundreds
IMAGES = 3 * NOTED + 10


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A pool of small images, each of another width or height; one is missing, one is cut off."""
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(IMAGES):
        image = tmp_path / "images" / f"{number:04d}.bmp"
        Image.new("RGB", (1 + number % 32, 1 + number // 32), (number % 256, 0, 9)).save(image)
        said = [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "Red."}]
        rows.append({"id": str(number), "image": image.name, "conversations": said})
    (tmp_path / "images" / "0001.bmp").unlink()
    (tmp_path / "images" / "0020.bmp").write_bytes((tmp_path / "images" / "0050.bmp").read_bytes()[:58])
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path


def opened(place: Path, cache: str) -> Pool:
    return open_llava_json(str(place / "rows.json"), str(place / "images"), "drop", place / cache)


def stopped(monkeypatch: pytest.MonkeyPatch, at: int | None) -> list[int]:
    """The images that are looked at from now on; image ``at`` stops the look as an interrupt does."""
    seen: list[int] = []

    def look(pool: Pool, image: int, *others: object) -> Look:
        if image == at:
            raise KeyboardInterrupt
        seen.append(image)
        return look_at_image(pool, image, *others)

    monkeypatch.setattr(looking, "look_at_image", look)
    return seen


def interrupted(place: Path, monkeypatch: pytest.MonkeyPatch, pictures: bool) -> None:
    stopped(monkeypatch, at=2 * NOTED + 5)
    with pytest.raises(KeyboardInterrupt):
        if pictures:
            with keeping_pictures():
                opened(place, "cache")
        else:
            opened(place, "cache")


@pytest.fixture(autouse=True)
def _in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is; in small blocks."""
    monkeypatch.setattr(looking, "SECONDS", math.inf)
    monkeypatch.setattr(looking, "NOTED", NOTED)


def test_on_a_slow_file_system_fewer_images_are_looked_at_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SECONDS", 0.0)
    stopped(monkeypatch, at=10)
    with pytest.raises(KeyboardInterrupt):
        opened(place, "cache")
    seen = stopped(monkeypatch, at=None)
    assert opened(place, "cache").health.missing_image == [1]
    assert sorted(seen) == list(range(10, IMAGES)), "the ten before were noted as they came"


@pytest.mark.parametrize("before", [True, False])
def test_a_stopped_look_goes_on_after_the_images_that_were_noted(
    place: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    interrupted(place, monkeypatch, before)
    seen = stopped(monkeypatch, at=None)
    pool = opened(place, "cache")
    assert sorted(seen) == list(range(2 * NOTED + 1, IMAGES))  # image 1 is missing, so blocks end one later
    whole = opened(place, "other")
    assert (pool.fingerprint, pool.health) == (whole.fingerprint, whole.health)
    assert pool.health.missing_image == [1] and pool.health.broken_image == [20]
    assert np.array_equal(pool.sizes, whole.sizes)
    (folder,) = (place / "cache" / "pool-headers").glob("*/")
    assert {file.name for file in folder.iterdir()} == {"headers.npz", "stage.json"}


def test_pictures_are_kept_over_a_stop(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(place, monkeypatch, pictures=True)
    seen = stopped(monkeypatch, at=None)
    with keeping_pictures():
        pool = opened(place, "cache")
        assert min(seen) == 2 * NOTED + 1
        whole = opened(place, "other")
    for column in ("digests", "hashes", "thumbnails"):
        assert np.array_equal(getattr(pool.pictures.read(), column), getattr(whole.pictures.read(), column))


def test_images_of_which_no_pictures_were_noted_are_looked_at_again_where_these_are_wanted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(place, monkeypatch, pictures=False)
    seen = stopped(monkeypatch, at=None)
    with keeping_pictures():
        pool = opened(place, "cache")
    assert len(seen) == IMAGES - 1 and len(pool.pictures.read()) == IMAGES - 2


@pytest.mark.parametrize("name", ["headers.npz", "thumbnails.npy"])
def test_what_was_seen_is_not_written_through_a_link(place: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A stage looks for links before it begins; this one is put there while it runs."""
    (place / "mine").write_text("content")

    def look(pool: Pool, image: int, *others: object) -> Look:
        if image == IMAGES - 1:
            (folder,) = (place / "cache" / "pool-headers").glob("*.partial")
            (folder / name).symlink_to(place / "mine")
        return look_at_image(pool, image, *others)

    monkeypatch.setattr(looking, "look_at_image", look)
    with keeping_pictures(), pytest.raises(UserError, match=f"{name} is a link, but no stage makes links; delete it"):
        opened(place, "cache")
    assert (place / "mine").read_text() == "content"


def test_rows_that_cannot_be_read_are_not_listed_through_a_link(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "mine").write_text("content")

    @contextmanager
    def plant() -> Iterator[None]:
        (folder,) = (place / "cache" / "pool-rows").glob("*.partial")
        (folder / "unread.jsonl").symlink_to(place / "mine")
        yield

    monkeypatch.setattr(reading, "_no_collector", plant)
    with pytest.raises(UserError, match=r"unread\.jsonl is a link, but no stage makes links; delete it, and start"):
        opened(place, "cache")
    assert (place / "mine").read_text() == "content"


@pytest.mark.parametrize("link", ["images", "images/a"])
def test_images_of_rows_are_not_written_below_a_link(tmp_path: Path, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=f"^{tmp_path / link} is a link, but no stage makes links; delete it, and"):
        _kept(b"content", tmp_path / "images", "a/b/1.png")
    assert not list((tmp_path / "elsewhere").iterdir())
