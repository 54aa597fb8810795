"""A run in parts ends as a run in one go; weights of rows and their losses are what the formula says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from selectmm.errors import UserError
from selectmm.models.encode import IGNORED
from selectmm.models.losses import answer_loss, weighted_loss
from selectmm.tuning.callback import row_losses_of
from selectmm.tuning.checkpoint import handed_on
from selectmm.tuning.data import MicroBatches
from selectmm.tuning.finetune import train_task
from selectmm.tuning.job import HANDED_ON, Part, Task
from selectmm.tuning.plan import planned
from selectmm.tuning.recipe import Strategy
from tests.tuning.conftest import FEW, SINGLE, SMALL, Bench
from tests.tuning.test_kill import WRITTEN, kill_at, killed

ROWS, STEPS, CUT = FEW, 6, 3


def part_of(bench: Bench, folder: Path, number: int, **given: object) -> None:
    """Train the first or second half of the steps that the whole run would take, into ``folder/number``."""
    whole = planned(bench.pool, ROWS, Task(SMALL, SINGLE, STEPS, 0))
    rows = ROWS[(whole[:CUT], whole[CUT:])[number]].ravel()
    before = str(folder / "0") if number else None
    part = replace(Part(number * CUT, CUT + number * (STEPS - CUT), before, ordered=True), **given.pop("part", {}))
    task = Task(SMALL, SINGLE, STEPS, 0, part, (2, 5))
    (folder / str(number)).mkdir(exist_ok=True)
    log = given.get("log", lambda _entry: None)
    train_task(bench.vlm, bench.pool, rows, task, folder / str(number), log, bench.build)


def logged(folder: Path, what: str) -> list[float]:
    return [json.loads(line)[what] for line in (folder / "losses.jsonl").open()]


@pytest.fixture(scope="module")
def whole(llava: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    llava.tune(folder)
    return folder


def test_two_parts_killed_on_the_way_end_with_the_bits_losses_and_rates_of_one_run(
    llava: Bench, whole: Path, tmp_path: Path
) -> None:
    killed(lambda: part_of(llava, tmp_path, 0, log=kill_at(3)))
    part_of(llava, tmp_path, 0)
    killed(lambda: part_of(llava, tmp_path, 1, log=kill_at(5)))
    assert [file.name for file in (tmp_path / "1").glob("checkpoint-*")] == ["checkpoint-00000004"]
    part_of(llava, tmp_path, 1)
    for name in WRITTEN[:2]:
        assert (tmp_path / "1" / name).read_bytes() == (whole / name).read_bytes()
    for what in ("step", "loss", "lr"):
        assert logged(tmp_path / "0", what) + logged(tmp_path / "1", what) == logged(whole, what)
    assert (tmp_path / "0" / HANDED_ON).is_dir() and not (tmp_path / "1" / HANDED_ON).exists()


def test_what_is_kept_on_the_way_is_what_a_run_of_so_many_steps_holds(llava: Bench, tmp_path: Path) -> None:
    """The first part alone ends where a point after its last step would be."""
    part_of(llava, tmp_path, 0)
    at_two = tmp_path / "0" / "points" / "00000002"
    assert [point.name for point in (tmp_path / "0" / "points").iterdir()] == ["00000002"], "5 is another part's"
    shorter = tmp_path / "shorter"
    shorter.mkdir()
    task = Task(SMALL, SINGLE, STEPS, 0, Part(0, 2, ordered=True))
    whole = planned(llava.pool, ROWS, Task(SMALL, SINGLE, STEPS, 0))
    train_task(llava.vlm, llava.pool, ROWS[whole[:2]].ravel(), task, shorter, lambda _entry: None, llava.build)
    for name in WRITTEN[:2]:
        assert (at_two / name).read_bytes() == (shorter / name).read_bytes()


def test_a_part_whose_beginning_is_gone_is_one_sentence(llava: Bench, tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    with pytest.raises(UserError, match=r"last state of the training before step 3 is missing .* start again"):
        part_of(llava, tmp_path, 1)


@pytest.mark.parametrize(
    ("kind", "other", "said"),
    [
        ("zero3", Strategy("zero3", 4), "devices=2, not 4"),
        ("zero3", Strategy("zero2", 2), "strategy.kind=zero3, not zero2"),
        ("zero3", Strategy("zero3", 2), None),
        ("zero2", Strategy("zero2", 4), None),
    ],
)
def test_a_part_goes_on_on_the_devices_that_a_checkpoint_would_go_on_on(
    kind: str, other: Strategy, said: str | None, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "train" / "0" / HANDED_ON / "checkpoint-00000003"
    checkpoint.mkdir(parents=True, mode=0o700)
    asked = {"strategy.kind": kind, "strategy.devices": 2, "part.first": 0}
    (checkpoint / "meta.json").write_text(json.dumps({"step": 3, "counts": [0], "asked": asked}))
    task = Task(SMALL, other, STEPS, 0, Part(CUT, STEPS, str(tmp_path / "train" / "0")))
    if said is None:
        assert handed_on(task) == checkpoint
        return
    with pytest.raises(UserError, match=rf"under {said}; go on with the first, or delete {tmp_path / 'train'}\.$"):
        handed_on(task)


def test_weights_of_one_change_nothing_and_every_row_s_loss_is_noted(llava: Bench, whole: Path, tmp_path: Path) -> None:
    part_of(llava, tmp_path, 0, part={"weights": (1.0,) * 12})
    assert logged(tmp_path / "0", "loss") == pytest.approx(logged(whole, "loss")[:CUT], abs=1e-6)
    lines = list(row_losses_of(tmp_path / "0"))
    assert [line["step"] for line in lines] == [1] * 2 + [2] * 2 + [3] * 2, "micro-batches of two rows"
    assert sorted(place for line in lines for place in line["places"]) == list(range(12))
    assert all(loss > 0 for line in lines for loss in line["losses"])


@pytest.mark.parametrize("name", ["losses.jsonl", "rows-00000.jsonl"])
def test_losses_are_not_appended_through_a_link_that_somebody_puts_there(
    llava: Bench, tmp_path: Path, name: str
) -> None:
    """A stage looks for links before it begins."""
    (tmp_path / "mine").write_text("content")

    def plant(_entry: object) -> None:
        (tmp_path / "0" / name).unlink()
        (tmp_path / "0" / name).symlink_to(tmp_path / "mine")

    with pytest.raises(UserError, match=f"{name} is a link, but no stage makes links; delete it, and start again"):
        part_of(llava, tmp_path, 0, log=plant, part={"weights": (1.0,) * 12})
    assert (tmp_path / "mine").read_text() == "content"


def test_a_row_s_weight_multiplies_its_tokens(llava: Bench) -> None:
    data = MicroBatches(llava.vlm, llava.pool, np.array([[0, 2, 3]]), 256, blank=True, packing=False)
    batch, model = data[0].inputs, llava.vlm.model
    weights = torch.tensor([0.5, 2.0, 3.0])
    loss, own = weighted_loss(model, batch, weights)
    with torch.no_grad():
        logits = model(**{k: v for k, v in batch.items() if k not in ("labels", "instruction")}).logits[:, :-1]
        labels = batch["labels"][:, 1:]
        each = cross_entropy(logits.transpose(1, 2), labels, reduction="none", ignore_index=IGNORED)
    tokens = (labels != IGNORED).sum(1)
    torch.testing.assert_close(loss.detach(), (each.sum(1) * weights).sum() / tokens.sum())
    torch.testing.assert_close(own, each.sum(1) / tokens)
    torch.testing.assert_close(weighted_loss(model, batch, torch.ones(3))[0], answer_loss(model, batch))
