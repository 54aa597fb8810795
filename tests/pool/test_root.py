"""One pool whose images lie in a folder, in tars and at an address: the same rows, findings, pictures and subset."""

import json
import pickle
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selectmm.errors import UserError
from selectmm.features.tokens import TokenCount
from selectmm.methods.length import Length
from selectmm.methods.random import Random
from selectmm.pool.address import Address, address_of
from selectmm.pool.doctor import Limit, diagnose
from selectmm.pool.image import header_of, open_image, size_of
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.parquet import open_parquet
from selectmm.pool.pool import Pool
from selectmm.pool.root import root_of, root_spelled, spelled
from selectmm.pool.sharegpt import open_sharegpt
from selectmm.pool.webdataset import open_webdataset
from tests.pool.kept_images import NAMES, contents, picture, tar_of

WAYS = ("folder", "tars", "address")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[dict[str, str]]:
    """``pool.images`` in each of the ways."""
    files = contents()
    for name, content in files.items():
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    many = list(files.items())
    tar_of(tmp_path / "tars" / "00.tar", [*many[:5], ("readme.txt", b"no image either")])
    tar_of(tmp_path / "tars" / "01.tar", [(f"./{name}", content) for name, content in many[5:]])
    memory = fsspec.filesystem("memory")
    for name, content in files.items():
        memory.pipe_file(f"/bucket/images/{name}", content)
    yield {"folder": str(tmp_path / "images"), "tars": f"{tmp_path}/tars/*.tar", "address": "memory://bucket/images"}
    memory.rm("/bucket", recursive=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    turns = [{"from": "human", "value": "<image>\nWhat is this?"}, {"from": "gpt", "value": "A picture."}]
    rows = [{"id": name, "image": name, "conversations": turns} for name in [*NAMES, "coco/missing.png"]]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    return tmp_path / "rows.json"


def opened(file: Path, images: str, cache: Path) -> Pool:
    return open_llava_json(str(file), images, "drop", cache)


def chosen_from(pool: Pool) -> list[list[int]]:
    """What two methods keep: by chance, and the largest images, as their headers say."""
    pixels = {TokenCount(): pool.sizes[pool.image_of].prod(axis=1)}
    return [method.select(pool, pixels, 5, np.random.default_rng(0)).rows.tolist() for method in (Random(), Length())]


def test_wherever_images_are_kept_it_is_the_same_pool(kept: dict[str, str], file: Path, tmp_path: Path) -> None:
    pools = {way: opened(file, images, tmp_path / f"cache-{way}") for way, images in kept.items()}
    first = pools["folder"]
    assert len(first) == len(NAMES) - 1 and first.health.missing_image == [12] and first.health.broken_image == [3]
    for pool in pools.values():
        assert pool.table.equals(first.table) and pool.fingerprint == first.fingerprint
        assert pool.health == first.health and np.array_equal(pool.sizes, first.sizes)
        assert chosen_from(pool) == chosen_from(first)
        for position in range(len(pool)):
            assert pool.open_image(pool[position].image).tobytes() == first.open_image(first[position].image).tobytes()


def test_a_path_is_that_of_a_folder_however_it_is_written(kept: dict[str, str], file: Path, tmp_path: Path) -> None:
    rows = json.loads(file.read_text())
    written = {"coco/000.png": "./coco/000.png", "coco/001.png": "coco//001.png", "gqa/ü.jpg": "gqa/./ü.jpg"}
    written |= {"loose.jpg": "loose.jpg/"}
    for row in rows:
        row["image"] = written.get(row["image"], row["image"])
    file.write_text(json.dumps(rows))
    pools = [opened(file, images, tmp_path / way) for way, images in kept.items()]
    for pool in pools:
        assert pool.fingerprint == pools[0].fingerprint and pool.health == pools[0].health
        assert len(pool) == len(NAMES) - 1 and chosen_from(pool) == chosen_from(pools[0])
        assert pool.open_image("coco//001.png").tobytes() == picture(1).tobytes()
        assert pool.image_size("./coco/000.png") == picture(0).size
    for way in WAYS:
        with pytest.raises(UserError, match="leaves the image folder"):
            size_of(root_of(kept[way], tmp_path / "cache"), "coco/../../up.png")


def test_a_name_with_two_slashes_in_a_bucket_is_found_as_it_is_written(kept: dict[str, str], tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/bucket/images/own//9.png", contents()["coco/001.png"])
    root = address_of(kept["address"])
    assert open_image(root, "own//9.png").tobytes() == picture(1).tobytes()
    assert root.file("own//9.png").stat().st_size == size_of(root, "own//9.png") == len(contents()["coco/001.png"])
    assert size_of(root, "own/9.png") is None and header_of(root, "own//9.png").width == 24


def test_the_doctor_finds_the_same(kept: dict[str, str], file: Path, tmp_path: Path) -> None:
    pools = [open_llava_json(str(file), kept[way], "keep", tmp_path / way) for way in WAYS]
    found = [[(one.name, one.count, one.of) for one in diagnose(pool, None, Limit(), "stop")] for pool in pools]
    assert found[0] == found[1] == found[2]
    assert {("missing image", 1, 13), ("unreadable image", 1, 13)} <= set(found[0])


def test_paths_in_parquet_are_the_same_pool_too(kept: dict[str, str], file: Path, tmp_path: Path) -> None:
    table = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(json.loads(file.read_text())), table)
    pools = [open_parquet(str(table), kept[way], "drop", str(tmp_path / way), "stop", "source") for way in WAYS]
    assert len({pool.fingerprint for pool in pools}) == 1 and pools[0].health.broken_image == [3]
    assert all(pool.table.equals(pools[0].table) and pool.health == pools[0].health for pool in pools)


def test_rows_of_every_reader_and_images_of_every_place_are_the_same_pool(
    kept: dict[str, str], file: Path, tmp_path: Path
) -> None:
    """A JSON beside a folder, tars and an address; paths in parquet; images inside it; and WebDataset's shards."""
    files = contents()
    rows = [row for row in json.loads(file.read_text()) if row["image"] in files]
    file.write_text(json.dumps(rows))
    options = {"bad_rows": "drop", "cache": str(tmp_path / "cache"), "system": "stop", "source": "source"}
    pools = [open_sharegpt(str(file), images, **options) for images in kept.values()]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "paths.parquet")
    pools += [open_parquet(str(tmp_path / "paths.parquet"), images, **options) for images in kept.values()]
    inside = [{**row, "image": {"bytes": files[row["image"]], "path": row["image"]}} for row in rows]
    pq.write_table(pa.Table.from_pylist(inside), tmp_path / "inside.parquet")
    pools.append(open_parquet(str(tmp_path / "inside.parquet"), None, **options))
    jsons = [(f"rows/{number:02}.json", json.dumps(row).encode()) for number, row in enumerate(rows)]
    tar_of(tmp_path / "rows.tar", [*jsons, *files.items()])
    pools.append(open_webdataset(str(tmp_path / "rows.tar"), **options))
    first, *others = pools
    assert len(first) == len(NAMES) - 1 and first.health.broken_image == [3]
    for pool in others:
        assert pool.table.equals(first.table) and pool.fingerprint == first.fingerprint
        assert pool.health == first.health and chosen_from(pool) == chosen_from(first)
        for position in range(len(pool)):
            assert pool.open_image(pool[position].image).tobytes() == first.open_image(first[position].image).tobytes()
    llava = open_llava_json(str(file), kept["folder"], "drop", tmp_path / "cache")
    assert llava.table.equals(first.table) and chosen_from(llava) == chosen_from(first)
    assert llava.fingerprint != first.fingerprint  # it names the bytes of the file, as committed records do


@pytest.mark.parametrize("way", WAYS)
def test_another_process_reads_the_same_images(way: str, kept: dict[str, str], tmp_path: Path) -> None:
    root = root_of(kept[way], tmp_path)
    for other in (root_spelled(spelled(root)), pickle.loads(pickle.dumps(root))):
        assert open_image(other, "gqa/ü.jpg").tobytes() == open_image(Path(kept["folder"]), "gqa/ü.jpg").tobytes()
        assert header_of(other, "coco/002.png")[:2] == (24, 10)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_there_is_said_in_one_sentence(way: str, kept: dict[str, str], tmp_path: Path) -> None:
    root = root_of(kept[way], tmp_path)
    assert size_of(root, "coco/000.png") == len(contents()["coco/000.png"]) and size_of(root, "other.png") is None
    with pytest.raises(UserError, match=r"^Image .*other\.png.* is missing; put it there, or set pool\.bad_rows=drop"):
        open_image(root, "other.png")
    with pytest.raises(UserError, match=r"cannot be read .*cannot identify image"):
        open_image(root, "coco/003.png")
    for path in ("../rows.json", "/etc/passwd", "coco/../../rows.json"):
        with pytest.raises(UserError, match="leaves the image folder"):
            open_image(root, path)


def test_addresses_are_of_known_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("file:///etc", "reference://x", "ssh://host/x", "simplecache::file://x", "https://x/y", "github://a"):
        with pytest.raises(UserError, match=r"Images cannot be read from .*: addresses begin with one of s3://"):
            address_of(text)
    monkeypatch.setattr(fsspec, "get_filesystem_class", lambda _: (_ for _ in ()).throw(ImportError("none")))
    with pytest.raises(UserError, match=r"s3:// the package s3fs is needed; pip install s3fs"):
        address_of("s3://bucket/images")


def test_a_bucket_that_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **_named: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "find", refused)
    with pytest.raises(UserError, match=r"^The images at memory://b cannot be listed \(Access Denied\); check the"):
        size_of(Address("memory://b"), "one.png")


class Unconnected(Exception):
    """As botocore's EndpointConnectionError: no `OSError`."""


@pytest.mark.parametrize("problem", [PermissionError("Expired token"), Unconnected("no route"), OSError(16, "busy")])
def test_images_that_cannot_be_fetched_now_are_not_called_broken(
    problem: Exception, kept: dict[str, str], file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found of images is cached, so their rows would be gone for ever."""
    system = fsspec.get_filesystem_class("memory")
    fetch = system.cat_file

    def some(self: object, path: str, *more: object, **named: object) -> bytes:
        if "/gqa/" in path:
            raise problem
        return fetch(self, path, *more, **named)

    said = rf"^memory://bucket/images/gqa/.*\.jpg cannot be read now \(.*{problem.args[-1]}.*\)\. No row was left out"
    with monkeypatch.context() as patch:
        patch.setattr(system, "cat_file", some)
        with pytest.raises(UserError, match=said):
            opened(file, kept["address"], tmp_path / "cache")
        for read in (open_image, header_of):
            with pytest.raises(UserError, match=said):
                read(root_of(kept["address"], tmp_path), "gqa/long/9.jpg")
        patch.setattr(system, "info", some)
        with pytest.raises(UserError, match=said):
            Address(kept["address"]).file("gqa/long/9.jpg").stat()
    pool = opened(file, kept["address"], tmp_path / "cache")
    assert pool.health.broken_image == [3] and len(pool) == len(NAMES) - 1


@pytest.mark.parametrize("address", ["memory://bucket/images", "simplecache::memory://bucket/images"])
def test_a_name_is_never_taken_for_an_address(address: str, kept: dict[str, str], tmp_path: Path) -> None:
    """fsspec chains addresses by ``::``, and would read another file of the bucket, or one of this machine."""
    files, memory = contents(), fsspec.filesystem("memory")
    names = ["loose.jpg::other.jpg", f"loose.jpg::file://{kept['folder']}/loose.jpg"]
    memory.pipe_file(f"/bucket/images/{names[0]}", files["coco/001.png"])
    root = address_of(address)
    assert open_image(root, names[0]).tobytes() == picture(1).tobytes()
    assert root.file(names[0]).stat().st_size == size_of(root, names[0]) == len(files["coco/001.png"])
    with pytest.raises(UserError, match=r"loose\.jpg::file:.* is missing; put it there"):
        open_image(root, names[1])


def test_a_cached_address_keeps_what_it_read(kept: dict[str, str], tmp_path: Path) -> None:
    fsspec.config.conf["simplecache"] = {"cache_storage": str(tmp_path / "local")}
    try:
        root = address_of("simplecache::memory://bucket/images")
        assert open_image(root, "loose.jpg").size == (24, 19) and size_of(root, "loose.jpg")
        assert len(list((tmp_path / "local").iterdir())) == 1
    finally:
        del fsspec.config.conf["simplecache"]
