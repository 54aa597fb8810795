"""Points of a training that are kept, against the gradients that the training saw."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.optim.optimizer import register_optimizer_step_post_hook

from selectmm.errors import UserError
from selectmm.tuning.adapter import carry_adapter, identity_with
from selectmm.tuning.finetune import finetune
from selectmm.tuning.snapshots import read_moments, snapshot_steps, snapshots_in
from tests.tuning.conftest import FEW, SINGLE, SMALL, Bench

SHORT = replace(SMALL, epochs=1.34, warmup=0.0)  # 4 steps of 4 rows, at four different rates


def tune(bench: Bench, folder: Path, snapshots: int, stop_after: int | None = None) -> None:
    folder.mkdir(exist_ok=True)

    def log(entry: dict[str, float]) -> None:
        if entry["step"] == stop_after:
            raise KeyboardInterrupt

    finetune(bench.vlm, bench.pool, FEW, SHORT, SINGLE, 0, folder, log, snapshots=snapshots)


@pytest.fixture(scope="module")
def gradients() -> list[dict[int, torch.Tensor]]:
    return []


@pytest.fixture(scope="module")
def kept(llava: Bench, tmp_path_factory: pytest.TempPathFactory, gradients: list[dict[str, torch.Tensor]]) -> Path:
    """A training with two snapshots, whose LoRA gradients are written down, in their order, after each step."""

    def note(optimizer: torch.optim.Optimizer, _args: object, _kwargs: object) -> None:
        weights = [w for group in optimizer.param_groups for w in group["params"]]
        gradients.append({place: weight.grad.clone() for place, weight in enumerate(weights)})

    folder = tmp_path_factory.mktemp("kept")
    hook = register_optimizer_step_post_hook(note)
    try:
        tune(llava, folder, snapshots=2)
    finally:
        hook.remove()
    return folder


def test_snapshots_stand_at_equal_distances_and_never_twice_at_a_step() -> None:
    assert snapshot_steps(100, 4) == [25, 50, 75, 100] and snapshot_steps(10, 4) == [2, 5, 8, 10]
    assert snapshot_steps(3, 4) == [1, 2, 3] and snapshot_steps(7, 1) == [7] and snapshot_steps(7, 0) == []
    for steps in range(1, 40):
        for count in range(1, 8):
            made = snapshot_steps(steps, count)
            assert len(set(made)) == len(made) == min(steps, count) and made[-1] == steps and made[0] >= 1


def test_moments_are_running_means_of_the_gradients_and_of_their_squares(
    kept: Path, gradients: list[dict[int, torch.Tensor]]
) -> None:
    """m_t = Σ 0.1 · 0.9^(t−s) g_s and v_t = Σ 0.001 · 0.999^(t−s) g_s², after two and after four steps."""
    assert len(gradients) == 4
    for (folder, _), steps in zip(snapshots_in(kept), (2, 4), strict=True):
        flat = load_file(folder / "moments.safetensors")
        found = {name.removesuffix(".exp_avg"): name for name in flat if name.endswith(".exp_avg")}
        assert len(found) == 2 * 7 * 2, "layers × linear layers × the two factors; not the projector"
        expected = []
        for place in gradients[0]:
            seen = [step[place].double() for step in gradients[:steps]]
            first = sum(0.1 * 0.9 ** (steps - 1 - s) * g for s, g in enumerate(seen))
            second = sum(0.001 * 0.999 ** (steps - 1 - s) * g**2 for s, g in enumerate(seen))
            expected.append((first, second))
        for name in found:
            first, second = flat[f"{name}.exp_avg"].double(), flat[f"{name}.exp_avg_sq"].double()
            close = [e for e in expected if e[0].shape == first.shape and torch.allclose(e[0], first, atol=1e-8)]
            assert any(torch.allclose(e[1], second, rtol=1e-4, atol=1e-12) for e in close), name
            assert steps == 2 or (first.abs().max() > 0 and len(close) == 1), "four steps on, no two are alike"


def test_moments_are_read_as_first_and_second(kept: Path) -> None:
    flat = load_file(kept / "moments.safetensors")
    names = sorted({name.rpartition(".")[0] for name in flat})
    for name, (first, second) in read_moments(kept, torch.device("cpu"), names).items():
        assert torch.equal(first, flat[f"{name}.exp_avg"]) and torch.equal(second, flat[f"{name}.exp_avg_sq"])


def test_rates_are_means_over_the_steps_between(kept: Path) -> None:
    rates = [json.loads(line)["lr"] for line in (kept / "losses.jsonl").read_text().splitlines()]
    assert [rate for _, rate in snapshots_in(kept)] == pytest.approx([np.mean(rates[:2]), np.mean(rates[2:])])


def test_keeping_snapshots_changes_nothing_of_the_training_and_each_can_be_carried(
    llava: Bench, kept: Path, tmp_path: Path
) -> None:
    tune(llava, tmp_path / "plain", snapshots=0)
    name = "adapter_model.safetensors"
    assert (kept / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert sorted(file.name for file in (tmp_path / "plain").iterdir()) == [
        "adapter_config.json", name, "losses.jsonl", "train.json",
    ]  # fmt: skip
    (first, _), (last, _) = snapshots_in(kept)
    assert (first.name, last) == ("snapshot-1", kept)
    identities = {identity_with("model", folder) for folder in (first, last, tmp_path / "plain")}
    assert len(identities) == 3, "the moments are part of what a feature is computed from"
    with carry_adapter(llava.vlm, first) as carried:
        assert carried.adapter == first and carried.identity == identity_with(llava.vlm.identity, first)
    assert llava.vlm.adapter is None


def test_a_killed_training_ends_with_the_same_snapshots(llava: Bench, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        tune(llava, tmp_path / "killed", 2, stop_after=3)
    tune(llava, tmp_path / "killed", 2)
    for (one, rate), (other, again) in zip(snapshots_in(kept), snapshots_in(tmp_path / "killed"), strict=True):
        assert rate == again
        for name in ("adapter_model.safetensors", "moments.safetensors"):
            assert (one / name).read_bytes() == (other / name).read_bytes()


def test_moments_that_are_not_there_are_missed_in_one_sentence(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There are no moments of Adam in .*: they are kept by a warm-up whose method"):
        read_moments(tmp_path, torch.device("cpu"), [])
    with pytest.raises(UserError, match=r"The moments in .* lack those of another\.layer: they are of another"):
        read_moments(kept, torch.device("cpu"), ["another.layer"])
