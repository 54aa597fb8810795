"""One pool whose images lie in a folder, in tars and at an address: the same rows, findings, pictures and subset."""

import io
import json
import pickle
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.features.tokens import TokenCount
from selectmm.methods.length import Length
from selectmm.methods.random import Random
from selectmm.pool import shards
from selectmm.pool.address import Address, address_of
from selectmm.pool.doctor import Limit, diagnose
from selectmm.pool.image import header_of, open_image, size_of
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.parquet import open_parquet
from selectmm.pool.pool import Pool
from selectmm.pool.root import root_of, root_spelled, spelled
from selectmm.pool.shards import INDEX, shards_of
from selectmm.pool.sharegpt import open_sharegpt
from selectmm.pool.webdataset import open_webdataset
from tests.clips import write_clip

NAMES = [f"coco/{number:03}.png" for number in range(9)] + ["gqa/long/9.jpg", "gqa/ü.jpg", "loose.jpg"]
WAYS = ("folder", "tars", "address")


def picture(number: int) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (8 + number, 24, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def contents() -> dict[str, bytes]:
    found = {}
    for number, name in enumerate(NAMES):
        with io.BytesIO() as stream:
            picture(number).save(stream, "PNG" if name.endswith("png") else "JPEG")
            found[name] = stream.getvalue()
    return found | {"coco/003.png": b"no image"}


def tar_of(path: Path, files: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


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


def test_the_index_follows_the_tars(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "a.tar", [("old.png", b"1")])
    with tarfile.open(tar, "a") as made:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        made.addfile(folder)
    before = shards_of(str(tar), tmp_path / "cache")
    assert before.file("folder") is None and before.file("old.png").stat().st_size == 1
    tar_of(tar, [("new.png", b"12345")])
    after = shards_of(str(tar), tmp_path / "cache")
    assert before.index != after.index and after.file("new.png").stat().st_size == 5


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("link.png", tarfile.SYMTYPE, "a link, which is not read; .* with the files themselves"),
        ("hard.png", tarfile.LNKTYPE, "a link, which is not read; .* with the files themselves"),
        ("pipe.png", tarfile.FIFOTYPE, "neither a plain file nor a folder, which is not read"),
        ("/etc/one.png", tarfile.REGTYPE, "leaves the tar's own folder, which is not read; .* relative names"),
        ("../up.png", tarfile.REGTYPE, "leaves the tar's own folder, which is not read; .* relative names"),
        ("a/../../up", tarfile.DIRTYPE, "leaves the tar's own folder, which is not read; .* relative names"),
        ("line\nbreak.png", tarfile.REGTYPE, "cannot be printed, which is not read; .* another name"),
    ],
    ids=["link", "hard-link", "pipe", "absolute", "climbs", "folder-climbs", "unprintable"],
)
def test_a_member_that_is_no_plain_file_is_refused_by_name(name: str, kind: bytes, told: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        made.addfile(entry)
    with pytest.raises(UserError, match=rf"^{re.escape(repr(name))} in .*a\.tar is .*{told}"):
        shards_of(str(tmp_path / "a.tar"), tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(INDEX))


def test_a_tar_that_changes_while_it_is_used_is_not_read(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "a.tar", [("one.png", b"1"), ("two.png", b"2")])
    index = shards_of(str(tar), tmp_path / "cache").index
    tar_of(tar, [("two.png", b"22"), ("one.png", b"1")])
    with pytest.raises(UserError, match=r"a\.tar was changed after its images were indexed; start the command again"):
        shards.Shards("a.tar", index).file("one.png")
    tar.unlink()
    with pytest.raises(UserError, match="was changed after"):
        shards.Shards("a.tar", index).file("one.png")


def test_one_name_in_two_tars_is_refused(tmp_path: Path) -> None:
    for number in (0, 1):
        tar_of(tmp_path / f"{number}.tar", [("same.png", b"1"), (f"{number}.png", b"1")])
    with pytest.raises(UserError, match=r"'same\.png' is in .*0\.tar and in .*1\.tar; which of the two"):
        shards_of(f"{tmp_path}/*.tar", tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(INDEX))


def test_what_is_no_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no tar file '.*\*\.tar'; set pool\.images"):
        shards_of(f"{tmp_path}/*.tar", tmp_path)
    (tmp_path / "a.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"a\.tar\.gz is compressed, .* decompress it to a \.tar"):
        root_of(str(tmp_path / "a.tar.gz"), tmp_path)
    whole = tar_of(tmp_path / "a.tar", [("one.png", bytes(5000)), ("two.png", bytes(5000))]).read_bytes()
    for cut in (whole[:4000], whole[:6000], whole[:9000], b"no tar at all" * 100):
        (tmp_path / "a.tar").write_bytes(cut)
        with pytest.raises(UserError, match=r"a\.tar is not a whole tar file \(.*\); fetch it again"):
            root_of(str(tmp_path / "a.tar"), tmp_path)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    return entry.tobuf(tarfile.GNU_FORMAT)


def pax(**told: str) -> bytes:
    return tarfile.TarInfo.create_pax_global_header({}) + tarfile.TarInfo._create_pax_generic_header(
        {name.replace("_", "."): value for name, value in told.items()}, tarfile.XHDTYPE, "utf-8"
    )


@pytest.mark.parametrize(
    "content",
    [
        header("a", 0) + header("b", -512),
        header("a", -1),
        header("a", -512, tarfile.DIRTYPE),
        header("a", 2**80),
        header("a", 2**80, tarfile.GNUTYPE_LONGNAME),
        pax(size="-512") + header("a", 0),
        pax(GNU_sparse_map="a,b") + header("a", 0),
        pax(GNU_sparse_size="x") + header("a", 0),
        pax(GNU_sparse_major="1", GNU_sparse_minor="0") + header("a", 512) + bytes(512),
        pax() * 2000 + header("a", 0),
    ],
)
def test_odd_headers_are_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content + bytes(1024))
    with pytest.raises(UserError, match=r"^.*a\.tar is not a whole tar file \(.*\); fetch it again\.$"):
        shards_of(str(tmp_path / "a.tar"), tmp_path / "cache")


def test_tars_that_were_joined_by_cat_are_refused(tmp_path: Path) -> None:
    """All behind the first one's end would be passed over. Zeros alone may follow there, however many."""
    parts = [tar_of(tmp_path / f"{name}.tar", [(name, b"1")]).read_bytes() for name in "ab"]
    joined = tmp_path / "joined.tar"
    for between in (b"", bytes(3 * 2**20)):
        joined.write_bytes(parts[0] + between + parts[1])
        with pytest.raises(
            UserError, match=r"joined\.tar is not a whole tar file \(more follows behind its end, .*cat\)"
        ):
            shards_of(str(joined), tmp_path / "cache")
    joined.write_bytes(parts[0] + bytes(3 * 2**20))
    assert shards_of(str(joined), tmp_path / "cache").file("a").stat().st_size == 1


def test_a_part_of_a_file_is_a_file(tmp_path: Path) -> None:
    content = bytes(range(200))
    tar = tar_of(tmp_path / "a.tar", [("one", content), ("two", b"x" * 2000)])
    with shards_of(str(tar), tmp_path).file("one").open() as stream:
        assert stream.read() == content and stream.read() == b""
        assert stream.seek(-20, io.SEEK_END) == 180 and stream.read(5) == content[180:185]
        assert stream.seek(10) == 10 and stream.seek(5, io.SEEK_CUR) == 15 and stream.read(1000) == content[15:]
        assert stream.seek(500) == 500 and stream.read(1) == b""


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

    told = rf"^memory://bucket/images/gqa/.*\.jpg cannot be read now \(.*{problem.args[-1]}.*\)\. No row was left out"
    with monkeypatch.context() as patch:
        patch.setattr(system, "cat_file", some)
        with pytest.raises(UserError, match=told):
            opened(file, kept["address"], tmp_path / "cache")
        for read in (open_image, header_of):
            with pytest.raises(UserError, match=told):
                read(root_of(kept["address"], tmp_path), "gqa/long/9.jpg")
        patch.setattr(system, "info", some)
        with pytest.raises(UserError, match=told):
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
