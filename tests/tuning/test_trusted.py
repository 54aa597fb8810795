"""A run goes on from its own checkpoint alone, and reading one runs nothing."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum

from selectmm.errors import UserError
from selectmm.tuning import trusted
from selectmm.tuning.checkpoint import STATE, latest, read_meta, restore
from selectmm.tuning.trusted import check_own, nothing_runs
from tests.tuning.test_adapter_file import Trap


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "checkpoint-00000002"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "meta.json").write_text('{"step": 2, "counts": [1, 2], "asked": {}}')
    (folder / "state").mkdir()
    (folder / "state" / "zero.pt").write_bytes(b"x")
    return folder


def test_an_own_checkpoint_is_read_whatever_the_modes_inside_a_closed_folder(checkpoint: Path) -> None:
    (checkpoint / "state" / "zero.pt").chmod(0o666)
    assert read_meta(checkpoint, {}) == (2, [1, 2])
    assert latest(checkpoint.parent) == checkpoint
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


@pytest.mark.parametrize("which", [".", "state", "state/zero.pt", "meta.json"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_can_write_is_refused(checkpoint: Path, which: str, mode: int) -> None:
    checkpoint.chmod(0o755)
    path = checkpoint / which
    path.chmod(path.stat().st_mode | mode)
    said = (
        rf"The checkpoint {checkpoint} may not be this run's own: .*belongs to another user or can be written by others"
    )
    with pytest.raises(UserError, match=said + rf"\. Delete {checkpoint} to train from the start, or, if you trust"):
        read_meta(checkpoint, {})


def test_what_another_user_wrote_is_refused(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.lstat

    def of_another(path: Path) -> object:
        found = real(path)
        return SimpleNamespace(st_mode=found.st_mode, st_uid=found.st_uid + (Path(path).name == "zero.pt"))

    monkeypatch.setattr(trusted, "os", SimpleNamespace(lstat=of_another))
    with pytest.raises(UserError, match=r"state/zero\.pt belongs to another user"):
        check_own(checkpoint)


def test_a_link_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "more").symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"more is a link"):
        check_own(checkpoint)


def test_of_a_disk_without_permissions_nothing_can_be_said(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.lstat
    open_to_all = lambda path: SimpleNamespace(st_mode=real(path).st_mode | 0o777, st_uid=0)  # noqa: E731
    monkeypatch.setattr(trusted, "os", SimpleNamespace(lstat=open_to_all))
    check_own(checkpoint)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"step": 2, "counts": 3, "asked": {}}', '{"step": 2}'])
def test_a_checkpoint_whose_note_is_damaged_is_named(checkpoint: Path, text: str) -> None:
    (checkpoint / "meta.json").write_text(text)
    with pytest.raises(
        UserError, match=r"is not a checkpoint that this version wrote \(.*\); delete it, and start again"
    ):
        read_meta(checkpoint, {})


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_in_a_checkpoint_does_not_run_even_if_the_reader_asks_for_it(tmp_path: Path, zipped: bool) -> None:
    """As DeepSpeed does; its own classes, which hold numbers, are made."""
    file, mark = tmp_path / "zero.pt", tmp_path / "ran"
    torch.save({"trap": Trap(mark)}, file, _use_new_zipfile_serialization=zipped)
    with nothing_runs(), pytest.raises(Exception, match="Weights only load failed"):
        torch.load(file, weights_only=False)
    assert not mark.exists()
    torch.save({"a": torch.ones(2), "b": LossScaler(2.0), "c": ZeroStageEnum(2)}, file)
    with nothing_runs():
        found = torch.load(file, weights_only=False)
    assert found["a"].tolist() == [1, 1] and found["b"].cur_scale == 2 and found["c"] == 2
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02c__builtin__\nexit\n)R."])
def test_a_state_that_cannot_be_read_is_named(checkpoint: Path, content: bytes) -> None:
    (checkpoint / STATE).write_bytes(content)
    module = SimpleNamespace(trainer=SimpleNamespace(strategy=None), trained=dict)
    with pytest.raises(
        UserError, match=rf"The checkpoint {checkpoint} cannot be read \(.*\); delete it to train from the"
    ):
        restore(module, checkpoint)


def test_what_was_asked_is_compared_after_all_this(checkpoint: Path) -> None:
    note = {"step": 2, "counts": [], "asked": {"seed": 1}}
    (checkpoint / "meta.json").write_text(json.dumps(note))
    with pytest.raises(UserError, match="was written under seed=1, not 2"):
        read_meta(checkpoint, {"seed": 2})
