"""What fine-tuning needs of a family, on a tiny model of each."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file
from torch import nn

from selectmm.models.encode import Conversation, encode
from selectmm.models.losses import answer_loss
from selectmm.pool.pool import Pool
from selectmm.tuning.adapter import load_adapter
from selectmm.tuning.data import MicroBatch
from selectmm.tuning.finetune import train_task
from selectmm.tuning.job import Part, Task
from selectmm.tuning.module import Tuning
from selectmm.tuning.targets import lora_pattern
from tests.families import BODIES, FAMILIES
from tests.tuning.conftest import SINGLE, SMALL, Bench
from tests.tuning.test_finetune import assert_same, snapshot

LONG = replace(SMALL, max_length=512, checkpoint_every=100)


@pytest.fixture(scope="module", params=BODIES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> Bench:
    build = FAMILIES[request.param].build(tmp_path_factory.mktemp(request.param))
    return Bench(instantiate(build), build, pool)


def test_lora_sits_on_every_linear_layer_of_the_language_model_and_nowhere_else(bench: Bench) -> None:
    family, modules = bench.vlm.family, dict(bench.vlm.model.named_modules())
    touched = {name for name in modules if re.fullmatch(family.lora, name)}
    layers = {name for name, m in modules.items() if isinstance(m, nn.Linear) and name.startswith(f"{family.layers}.")}
    assert touched == layers
    assert len(layers) >= 2 * 6  # two decoder layers: attention has four, an MLP two or three


def test_an_image_goes_through_the_named_vision_tower_and_then_the_named_projector(bench: Bench) -> None:
    vlm, passed = bench.vlm, []
    parts = [vlm.family.vision, vlm.family.projector]
    hooks = [
        vlm.model.get_submodule(part).register_forward_hook(lambda *_, part=part: passed.append(part)) for part in parts
    ]
    with torch.no_grad():
        vlm.model(**encode(vlm, [_talk(bench, 0)], side="right", limit=None))
    for hook in hooks:
        hook.remove()
    assert set(passed) == set(parts)


def test_training_lowers_the_loss_and_leaves_the_model_as_it_was(bench: Bench, tmp_path: Path) -> None:
    before = snapshot(bench.vlm)
    batch = encode(bench.vlm, [_talk(bench, row) for row in (0, 1, 2)], side="right", limit=256)
    plain = float(answer_loss(bench.vlm.model, batch))
    losses = bench.tune(tmp_path, replace(LONG, epochs=6, clip=1.0), rows=np.arange(8))
    assert losses[-1] < losses[0] - 0.2
    with load_adapter(bench.vlm, tmp_path) as tuned:
        assert float(answer_loss(tuned.model, batch)) < plain - 0.2
    assert_same(snapshot(bench.vlm), before)
    homes = (bench.vlm.family.layers, bench.vlm.family.projector)
    assert all(any(home in name for home in homes) for name in load_file(tmp_path / "adapter_model.safetensors"))


def test_neither_packing_nor_gradient_checkpointing_changes_losses_or_weights(bench: Bench, tmp_path: Path) -> None:
    """The last, mixed batch included. Dropout is off: it is drawn by a batch's shape."""
    plain = replace(LONG, epochs=1, dropout=0.0, warmup=0.0)
    losses = bench.tune(tmp_path / "plain", plain)
    report, weights = (tmp_path / "plain" / name for name in ("train.json", "adapter_model.safetensors"))
    for packing in (False, True):
        folder = tmp_path / str(packing)
        recipe = replace(plain, packing=packing, gradient_checkpointing=True)
        assert bench.tune(folder, recipe) == pytest.approx(losses, rel=1e-5)
        assert (folder / report.name).read_bytes() == report.read_bytes()
        expected = load_file(weights)
        for name, weight in load_file(folder / weights.name).items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-4)


def test_weights_in_bfloat16_leave_rotary_frequencies_and_the_default_dtype_as_they_are(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighted rows included, whose losses are summed up in float32."""
    model, own, seen = bench.vlm.model, Tuning.training_step, []
    frequencies = {name: buffer for name, buffer in model.named_buffers() if "inv_freq" in name}
    weights = {name: weight.data for name, weight in model.named_parameters()}

    def step(self: Tuning, batch: MicroBatch, number: int) -> dict[str, torch.Tensor | None]:
        now = dict(model.named_buffers())
        same = all(torch.equal(now[name], before) for name, before in frequencies.items())
        dtypes = {weight.dtype for weight in self.wrapped.parameters()}
        seen.append((same, dtypes, torch.get_default_dtype()))
        return own(self, batch, number)

    monkeypatch.setattr(Tuning, "training_step", step)
    part = Part(0, 1, ordered=True, weights=(1.5, 0.5))
    recipe = replace(LONG, batch_size=2, precision="bf16-true")
    try:
        for weight in model.parameters():
            weight.data = weight.data.bfloat16()
        task = Task(recipe, SINGLE, 2, 0, part)
        train_task(bench.vlm, bench.pool, np.array([0, 3]), task, tmp_path, lambda _entry: None, bench.build)
    finally:
        for name, weight in model.named_parameters():
            weight.data = weights[name]
    assert frequencies and seen == [(True, {torch.bfloat16}, torch.float32)]


def test_lora_on_tower_and_projector_sits_on_every_linear_layer_that_an_image_passes_through(bench: Bench) -> None:
    """As a backward pass finds them: a layer that no image passes through has no gradient."""
    vlm, recipe = bench.vlm, replace(LONG, vision_lr=1e-2, projector="lora")
    answer_loss(vlm.model.requires_grad_(True), encode(vlm, [_talk(bench, 0)], side="right", limit=None)).backward()
    homes = (f"{vlm.family.layers}.", f"{vlm.family.vision}.", f"{vlm.family.projector}.")
    linear = {name: module for name, module in vlm.model.named_modules() if isinstance(module, nn.Linear)}
    passed = {name for name, module in linear.items() if name.startswith(homes) and module.weight.grad is not None}
    vlm.model.zero_grad()
    vlm.model.requires_grad_(False)
    touched = {name for name, _ in vlm.model.named_modules() if re.fullmatch(lora_pattern(vlm, recipe), name)}
    assert touched == passed
    assert all(any(name.startswith(home) for name in touched) for home in homes)


def test_lora_on_attention_leaves_the_mlps_alone(bench: Bench) -> None:
    names = {name for name, _ in bench.vlm.model.named_modules() if re.fullmatch(bench.vlm.family.lora, name)}
    pattern = lora_pattern(bench.vlm, replace(LONG, lora_layers="attention"))
    touched = {name for name, _ in bench.vlm.model.named_modules() if re.fullmatch(pattern, name)}
    assert touched == {name for name in names if ".self_attn." in name}
    assert len(touched) == 2 * 4


def test_every_part_has_its_own_rate(bench: Bench, tmp_path: Path) -> None:
    """LoRA's second matrix is zero until it learns, and AdamW's first step moves a weight by the whole rate."""
    rates = {"language": 1e-2, "projector": 1e-3, "tower": 1e-4}
    recipe = replace(LONG, epochs=1, warmup=0.0, weight_decay=0.0, projector="lora", lr=rates["language"])
    recipe = replace(recipe, projector_lr=rates["projector"], vision_lr=rates["tower"])
    before = snapshot(bench.vlm)
    bench.tune(tmp_path, recipe, rows=np.arange(4))
    assert_same(snapshot(bench.vlm), before)
    second = {k: w for k, w in load_file(tmp_path / "adapter_model.safetensors").items() if "lora_B" in k}
    moved = dict.fromkeys(rates, 0.0)
    for name, weight in second.items():
        part = _part_of(bench, name)
        moved[part] = max(moved[part], float(weight.abs().max()))
    assert moved == pytest.approx(rates, rel=0.01)


def _part_of(bench: Bench, name: str) -> str:
    family = bench.vlm.family
    homes = {"projector": family.projector, "tower": family.vision, "language": family.layers}
    return next(part for part, home in homes.items() if f"{home}." in name)


def test_training_in_full_lowers_the_loss_and_leaves_the_model_as_it_was(bench: Bench, tmp_path: Path) -> None:
    before = snapshot(bench.vlm)
    recipe = replace(LONG, tune="full", rank=0, alpha=0, dropout=0.0, lr=2e-3, clip=1.0, epochs=4)
    losses = bench.tune(tmp_path, recipe, rows=np.arange(8))
    assert losses[-1] < losses[0] - 0.2
    assert_same(snapshot(bench.vlm), before)


def _talk(bench: Bench, row: int) -> Conversation:
    sample = bench.pool[row]
    return Conversation(sample.turns, (bench.pool.open_image(sample.image),))
