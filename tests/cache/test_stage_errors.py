"""What goes wrong under a stage is one sentence, and loses nothing that was finished."""

import errno
import io
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import SafetensorError

from selectmm.cache import stage as stages
from selectmm.cache import write_errors
from selectmm.cache.stage import fingerprint, run_stage, write_atomically
from selectmm.errors import UserError

WHAT = {"model": "toy", "layer": 1}


def _write_value(folder: Path) -> None:
    (folder / "value.txt").write_text("42")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_sentence_and_nothing_is_lost(tmp_path: Path, number: int) -> None:
    def fills_the_disk(folder: Path) -> None:
        (folder / "shard-0").write_text("done")
        raise OSError(number, os.strerror(number), str(folder / "shard-1"))

    with pytest.raises(UserError, match=r"Stage 'features' could not write .*: (No space|Disk quota).*free some space"):
        run_stage(tmp_path, "features", WHAT, fills_the_disk)
    assert run_stage(tmp_path, "features", WHAT, lambda folder: None).folder.joinpath("shard-0").exists()


def test_a_writer_that_does_not_say_why_is_explained_by_the_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torch_save(folder: Path) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed")

    with pytest.raises(RuntimeError):
        run_stage(tmp_path, "finetune", WHAT, torch_save)
    monkeypatch.setattr(write_errors.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(UserError, match="No space left on device"):
        run_stage(tmp_path, "finetune", WHAT, torch_save)


def test_a_writer_that_takes_no_room_it_cannot_have_names_the_error_itself(tmp_path: Path) -> None:
    """As safetensors does on a small disk: it fails before it writes, and the disk is not full."""

    def safetensors_save(folder: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(UserError, match=r"Stage 'finetune' could not write .*: No space left on device\. What was"):
        run_stage(tmp_path, "finetune", WHAT, safetensors_save)


def test_a_folder_that_may_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "x"))

    with pytest.raises(UserError, match=r"Permission denied.*point 'cache' at another folder"):
        run_stage(tmp_path, "select", WHAT, forbidden)


def test_a_warm_cache_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a colleague's, or on a disk that is mounted read-only: no lock file can be made there."""
    made = run_stage(tmp_path, "select", WHAT, _write_value)
    (tmp_path / "select" / f"{fingerprint(WHAT)}.lock").unlink(missing_ok=True)

    def refuses(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(tmp_path / "select"))

    for name in ("mkdir", "write_bytes", "write_text", "touch"):
        monkeypatch.setattr(Path, name, refuses)
    monkeypatch.setattr(stages, "FileLock", refuses)
    assert run_stage(tmp_path, "select", WHAT, lambda folder: pytest.fail("made twice")) == replace(made, cached=True)
    with pytest.raises(
        UserError, match=r"Stage 'select' could not write .*: Read-only file system\. .*point 'cache' at"
    ):
        run_stage(tmp_path, "select", {"x": 2}, _write_value)


@pytest.mark.parametrize(
    "then", [lambda folder: (folder / "next").write_text("x"), lambda folder: torch.save(1, folder / "x")]
)
def test_a_cache_that_is_deleted_under_a_stage_is_one_sentence(tmp_path: Path, then: Callable[[Path], object]) -> None:
    def deleted(folder: Path) -> None:
        shutil.rmtree(tmp_path / "cache")
        then(folder)

    said = (
        r"Stage 'finetune' could not write .*: .*\.partial was deleted while it was being written\. What was finished"
    )
    with pytest.raises(UserError, match=said):
        run_stage(tmp_path / "cache", "finetune", WHAT, deleted)
    assert not run_stage(tmp_path / "cache", "finetune", WHAT, _write_value).cached


def test_a_cache_whose_path_looks_like_a_pattern(tmp_path: Path) -> None:
    root = tmp_path / "[x]*?" / "{a,b}"
    assert not run_stage(root, "select", WHAT, _write_value).cached
    assert run_stage(root, "select", WHAT, _write_value).cached


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"cost": 3}', '{"cost": {"seconds": 1, "more": 2}}'])
def test_a_stage_whose_note_is_damaged_is_named(tmp_path: Path, text: str) -> None:
    made = run_stage(tmp_path, "select", WHAT, _write_value)
    (made.folder / "stage.json").write_text(text)
    with pytest.raises(UserError, match=rf"The stage {made.folder} is damaged: .*; delete the folder, and start again"):
        run_stage(tmp_path, "select", WHAT, _write_value)


def test_an_input_that_may_not_be_read_is_not_called_a_full_cache(tmp_path: Path) -> None:
    def forbidden(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere/else/image.png")

    with pytest.raises(PermissionError):
        run_stage(tmp_path, "select", WHAT, forbidden)


def test_a_users_error_passes_through_unchanged(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        raise UserError("The model overflows.")

    with pytest.raises(UserError, match=r"^The model overflows\.$"):
        run_stage(tmp_path, "select", WHAT, fails)


def test_a_file_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, "old")

    def half(stream: io.FileIO, content: bytes) -> None:
        io.FileIO.write(stream, content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    full = type("Full", (io.FileIO,), {"write": half})
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(Path, "open", lambda self, mode: full(self, mode.replace("b", "")))
        write_atomically(path, "something new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
