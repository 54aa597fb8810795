"""Images in tar files: the index follows the tars, and what is no such tar is refused in one sentence."""

import io
import re
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from selectmm.errors import UserError
from selectmm.pool import shards
from selectmm.pool.image import open_image
from selectmm.pool.passing import NotNow
from selectmm.pool.root import root_of
from selectmm.pool.shards import INDEX, shards_of
from tests.pool.kept_images import tar_of


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
    ("name", "kind", "said"),
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
def test_a_member_that_is_no_plain_file_is_refused_by_name(name: str, kind: bytes, said: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as made:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        made.addfile(entry)
    with pytest.raises(UserError, match=rf"^{re.escape(repr(name))} in .*a\.tar is .*{said}"):
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


def test_a_tar_that_changes_after_one_of_its_files_was_read_is_not_read_on(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "PNG")
    tar = tar_of(tmp_path / "a.tar", [("one.png", stream.getvalue())])
    root = shards_of(str(tar), tmp_path / "cache")
    assert open_image(root, "one.png").getpixel((0, 0)) == (255, 0, 0)
    tar_of(tar, [("other.png", stream.getvalue()), ("one.png", b"1")])
    with pytest.raises(NotNow, match=r"a\.tar was changed after its images were indexed; start the command again"):
        open_image(root, "one.png")


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


def pax(**message: str) -> bytes:
    return tarfile.TarInfo.create_pax_global_header({}) + tarfile.TarInfo._create_pax_generic_header(
        {name.replace("_", "."): value for name, value in message.items()}, tarfile.XHDTYPE, "utf-8"
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
