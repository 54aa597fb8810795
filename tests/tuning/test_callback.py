"""What a training keeps while it goes on stays in its own folder."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from selectmm.errors import UserError
from selectmm.tuning import callback, snapshots
from selectmm.tuning.callback import POINTS, TrainingCallback
from selectmm.tuning.snapshots import save_snapshot


@pytest.mark.parametrize("name", [POINTS, f"{POINTS}/00000002", ".snapshot-1"])
def test_neither_points_nor_snapshots_are_kept_below_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "train" / name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "elsewhere")
    for module in (callback, snapshots):
        monkeypatch.setattr(module, "gathered_weights", lambda _: {})
    monkeypatch.setattr(snapshots, "gathered_moments", lambda _: {})
    monkeypatch.setattr(snapshots, "snapshot_steps", lambda *_: [2])
    with pytest.raises(UserError, match=f"^{link} is a link, but no stage makes links; delete it, and start again"):
        if name.startswith(POINTS):
            training, trainer = SimpleNamespace(_folder=tmp_path / "train"), SimpleNamespace(is_global_zero=True)
            TrainingCallback._keep_point(training, trainer, SimpleNamespace(), 2)
        else:
            save_snapshot(SimpleNamespace(global_rank=0, steps=2), tmp_path / "train", 2, 1)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(("found", "steps"), [([10, 10], None), ([20, 10, 10], "10, 20")])
def test_ranks_that_found_different_checkpoints_do_not_train_together(found: list[int], steps: str | None) -> None:
    training = SimpleNamespace(_folder=Path("train"))
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    module = SimpleNamespace(done=found[0], all_gather=lambda _own: torch.tensor(found))
    if steps is None:
        TrainingCallback._check_together(training, trainer, module)
        return
    with pytest.raises(UserError, match=rf"found different checkpoints in train \(of steps {steps}\): a node does not"):
        TrainingCallback._check_together(training, trainer, module)
