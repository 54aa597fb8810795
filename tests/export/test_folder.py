"""Where a new folder or file can be put is known before anything long starts; what is written is whole or not there."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from selectmm.errors import UserError
from selectmm.export.folder import check_free, check_new, new_file, new_folder


def filled(to: Path) -> None:
    with new_folder(to) as folder:
        (folder / "model").write_text("weights")


def test_a_new_folder_an_empty_one_and_a_link_to_one_are_filled(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("new", "a/b/new", "link"):
        check_free(tmp_path / name)
        filled(tmp_path / name)
        assert (tmp_path / name / "model").read_text() == "weights"
    assert (tmp_path / "link").is_symlink() and (tmp_path / "empty" / "model").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "empty", "link", "new"]


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("file", "^file is there already; give --to a new folder"),
        ("file/x/y", "^file/x/y cannot be made, because .*/file is no folder; give --to another folder"),
        ("loop", "^loop is there already; give --to a new folder"),
        (".", r"^\. is the current folder, which cannot be replaced; give --to a new folder inside it"),
        ("../here", r"^\.\./here is the current folder"),
        (
            "../volume",
            r"^\.\./volume is a mounted volume, which cannot be replaced; give --to a new folder inside",
        ),
        ("../full", r"^\.\./full is not empty; give --to a new folder, or empty this one"),
        ("../kept/new", r"^\.\./kept/new cannot be made, because .*/kept may not be written; give --to another folder"),
        ("../closed", r"^\.\./closed may not be read; give --to a new folder"),
    ],
)
@pytest.mark.parametrize("begun", [check_free, filled])
def test_where_no_folder_can_be_put_is_said_at_once(
    to: str, said: str, begun: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("here", "volume", "full/mine", "kept", "closed"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    if "." not in to:
        Path("file").write_text("mine")
        Path("loop").symlink_to("loop")
    allowed = os.access
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path / "volume")
    monkeypatch.setattr(os, "access", lambda path, how: _open(path, how) and allowed(path, how))
    with pytest.raises(UserError, match=said):
        begun(Path(to))
    left = {path.name for path in tmp_path.rglob("*")} - {"file", "loop"}
    assert left == {"here", "volume", "full", "mine", "kept", "closed"}


def _open(path: Path, how: int) -> bool:
    """As whoever is not root finds folders of other users."""
    return not (Path(path).name == "kept" and how & os.W_OK) and not (Path(path).name == "closed" and how & os.R_OK)


def test_where_no_file_can_be_put_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for name, said in (("file", "file is there already"), ("file/x.json", "x.json cannot be made, because .*/file is")):
        with pytest.raises(UserError, match=f"{said}.*; give --to a"):
            check_new(tmp_path / name)
    with new_file(tmp_path / "new" / "x.json") as file:
        file.write_text("rows")
    assert (tmp_path / "new" / "x.json").read_text() == "rows"


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EIO, errno.ENAMETOOLONG])
def test_whatever_else_is_in_the_way_is_one_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume that does not look like one, a disk that fails."""

    def fails(path: Path, to: Path) -> Path:
        raise OSError(number, os.strerror(number), str(path), None, str(to))

    with monkeypatch.context() as patch, pytest.raises(UserError, match=f"^{tmp_path}/out could not be written: .*; "):
        patch.setattr(Path, "rename", fails)
        filled(tmp_path / "out")
    with pytest.raises(UserError, match=r"could not be written: .*; make room, or give --to another folder\.$"):
        filled(tmp_path / ("x" * 255))
    with pytest.raises(UserError, match="could not be written: File name too long; make room"):
        filled(tmp_path / ("x" * 300))
    with (
        pytest.raises(UserError, match="out could not be written: Input/output error; make room"),
        new_folder(tmp_path / "out") as folder,
    ):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder / "model"))
    assert not list(tmp_path.iterdir())


def test_an_input_that_cannot_be_read_is_not_called_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), new_folder(tmp_path / "out"):
        (tmp_path / "gone").read_text()
    assert not list(tmp_path.iterdir())
