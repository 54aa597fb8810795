"""The same recipe over several processes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from hydra.utils import instantiate
from pytorch_lightning.plugins.precision import DeepSpeedPrecision
from safetensors.torch import load_file

from selectmm.errors import UserError
from selectmm.launch import launch
from selectmm.pool.pool import Pool
from selectmm.tuning.checkpoint import latest
from selectmm.tuning.fit import lightning_precision
from selectmm.tuning.job import LOCK, Part, Task
from selectmm.tuning.plan import lengths_of, plan, planned, share_of
from selectmm.tuning.recipe import Strategy
from selectmm.tuning.strategy import lightning_strategy
from tests.families import FAMILIES
from tests.launch import forked_ranks
from tests.launch.nodes import two_nodes
from tests.tuning.conftest import RECIPE, Bench
from tests.tuning.crowd import LIMIT, Case, train
from tests.tuning.test_kill import WRITTEN, assert_same_bits, kill_at, killed, losses, numbers_in

ROWS = np.arange(24)
FEW = ROWS[:8]  # six rows with an image and two without end in a batch of 2 and 2
UNLIKE = ("llava_chatml", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl3", "llava_onevision")
LONG = replace(RECIPE, max_length=512)  # InternVL's images in two by two tiles do not fit into less
MIXED = replace(LONG, epochs=1, batch_size=4, warmup=0.0, lora_layers="attention")  # ZeRO-3 is slow by the layer
RECIPES = {
    "shared": replace(LONG, micro_batch=8, dropout=0.0),  # dropout is drawn for each pass, and there are more of them
    "often": replace(LONG, checkpoint_every=1),
    "packed": replace(LONG, packing=True, epochs=1, warmup=0.0),
    "mixed": MIXED,
    "saving": replace(MIXED, lora_layers="all", gradient_checkpointing=True),
    "long": replace(LONG, epochs=6),
}
SHOWN = {"often": ROWS[:16], "packed": ROWS[:16], "mixed": FEW, "saving": FEW}
CASES = [
    "llava_chatml-ddp-all",
    "llava_chatml-zero2-all",
    "llava_chatml-ddp-shared",  # two ranks share each micro-batch
    "llava_chatml-zero2-shared",
    "llava_chatml-zero3-often",  # checkpoints, after every step
    "llava_chatml-zero3-packed",
    "llava_chatml-zero3-saving",  # as every published recipe; frozen weights are gathered once more for the second pass
    *(f"{family}-zero3-mixed" for family in UNLIKE[1:]),  # as LLaVA's last two are too
]
RESIZED = ("llava_chatml-ddp-resized", "llava_chatml-zero2-resized")  # stopped after the first checkpoint, to go on
IN_PARTS = ("ddp", "zero2")
LASTING = "llava_chatml-zero2-long"  # long enough to be killed on the way by a process that looks five times a second


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> dict[str, Bench]:
    builds = {name: FAMILIES[name].build(tmp_path_factory.mktemp(name)) for name in UNLIKE}
    return {name: Bench(instantiate(build), build, pool) for name, build in builds.items()}


@pytest.fixture(scope="module")
def cases(benches: dict[str, Bench]) -> dict[str, Case]:
    made = {}
    for name in [*CASES, LASTING, *RESIZED]:
        family, kind, rows = name.split("-")
        recipe = RECIPES.get(rows, LONG)
        until = recipe.checkpoint_every if rows == "resized" else None
        made[name] = Case(benches[family], Strategy(kind, 2), SHOWN.get(rows, ROWS), recipe, until=until)
    for kind in IN_PARTS:
        strategy = Strategy(kind, 2)
        whole = planned(benches["llava_chatml"].pool, ROWS, Task(LONG, strategy, 6, 0))
        for number, (first, last) in enumerate([(0, 3), (3, 6)]):
            part, after = Part(first, last, ordered=True), f"{kind}-part-0" if number else ""
            rows = ROWS[whole[first:last]].ravel()
            made[f"{kind}-part-{number}"] = Case(benches["llava_chatml"], strategy, rows, LONG, part, 6, after)
    return made


@pytest.fixture(scope="module")
def spread(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases over two processes; a folder for each."""
    root = tmp_path_factory.mktemp("spread")
    train(cases, root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_two_processes_learn_what_one_device_learns(
    name: str, cases: dict[str, Case], spread: Path, tmp_path: Path
) -> None:
    """Accumulation, clipping, dropout and a mixed last batch included; what differs is the order of summing floats.

    Losses to 1e-5, weights to 1e-4: Adam divides a gradient by its size, so that rounding moves small ones too.
    """
    case, folder = cases[name], spread / name
    alone = case.bench.tune(tmp_path, case.recipe, rows=case.rows)
    assert losses(folder) == pytest.approx(alone, abs=1e-5)
    assert norms(folder) == pytest.approx(norms(tmp_path), rel=1e-3)
    weights = load_file(folder / "adapter_model.safetensors")
    for key, weight in load_file(tmp_path / "adapter_model.safetensors").items():
        np.testing.assert_allclose(weights[key].numpy(), weight.numpy(), atol=1e-4)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config == json.loads((tmp_path / "adapter_config.json").read_text())
    report = json.loads((folder / "train.json").read_text())
    expected = json.loads((tmp_path / "train.json").read_text())
    assert report == expected | {"strategy": case.strategy.kind, "world_size": 2}


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_PARTS)
def test_a_run_in_two_parts_over_two_processes_learns_what_one_run_on_one_device_learns(
    kind: str, benches: dict[str, Bench], spread: Path, tmp_path: Path
) -> None:
    alone = benches["llava_chatml"].tune(tmp_path, LONG, rows=ROWS)
    folders = [spread / f"{kind}-part-{number}" for number in range(2)]
    losses = [json.loads(line)["loss"] for folder in folders for line in (folder / "losses.jsonl").open()]
    assert losses == pytest.approx(alone, abs=1e-5)
    weights = load_file(folders[1] / "adapter_model.safetensors")
    for key, weight in load_file(tmp_path / "adapter_model.safetensors").items():
        np.testing.assert_allclose(weights[key].numpy(), weight.numpy(), atol=1e-4)


def test_one_rank_had_text_alone_while_the_other_had_images(pool: Pool) -> None:
    """What the mixed cases are about: ranks gather a vision tower's weights together or wait for ever."""
    images = pool.image_of >= 0
    order = plan(images[FEW], lengths_of(pool, FEW), MIXED.batch_size, MIXED.steps(24, len(FEW)), 0)
    first, second = (images[share_of(order, MIXED.micro_batch, rank, world=2)].any(1) for rank in range(2))
    assert (first & ~second).any()


@pytest.mark.slow
def test_a_killed_starter_takes_its_ranks_along_and_a_zero2_run_goes_on_on_two_nodes_to_the_same_bits(
    cases: dict[str, Case], spread: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = cases[LASTING]
    killed(lambda: case.bench.tune(tmp_path, case.recipe, case.strategy, case.rows, kill_at(3)))
    with FileLock(tmp_path / LOCK, timeout=LIMIT):  # until its ranks have ended
        assert_only_what_is_trained(latest(tmp_path), spread / LASTING)
    monkeypatch.setattr(launch, "running", forked_ranks.running)
    with two_nodes(tmp_path / "cache") as (nodes, _):
        case.bench.tune(tmp_path, case.recipe, case.strategy, case.rows, nodes=nodes)
    (tmp_path / "cache").rmdir()
    assert_same_bits(tmp_path, spread / LASTING)
    assert {file.name for file in tmp_path.iterdir()} == {*WRITTEN, "losses.jsonl"}


@pytest.mark.slow
@pytest.mark.parametrize("name", RESIZED)
def test_a_run_goes_on_with_twice_and_with_half_the_ranks(
    name: str, cases: dict[str, Case], spread: Path, tmp_path: Path
) -> None:
    """What differs from a run on two ranks throughout is the order of summing floats."""
    case, every = cases[name], RECIPE.checkpoint_every
    shutil.copytree(spread / name, tmp_path / name)
    for ranks, until in ((4, 2 * every), (2, None)):
        assert latest(tmp_path / name).name == f"checkpoint-{(until or 3 * every) - every:08d}"
        went_on = replace(case, strategy=Strategy(case.strategy.kind, ranks), until=until)
        train({name: went_on}, tmp_path, ranks=ranks)
    whole = spread / name.replace("resized", "all")
    assert losses(tmp_path / name) == pytest.approx(losses(whole), abs=1e-5)
    weights = load_file(tmp_path / name / "adapter_model.safetensors")
    for key, weight in load_file(whole / "adapter_model.safetensors").items():
        np.testing.assert_allclose(weights[key].numpy(), weight.numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_zero3_run_whose_rank_is_killed_while_it_saves_goes_on_to_the_same_bits(
    cases: dict[str, Case], spread: Path, tmp_path: Path
) -> None:
    name = "llava_chatml-zero3-often"
    train({name: cases[name]}, tmp_path, death=".checkpoint-00000003")
    assert [folder.name for folder in (tmp_path / name).glob("checkpoint-*")] == ["checkpoint-00000002"]
    assert_only_what_is_trained(latest(tmp_path / name), spread / name)
    train({name: cases[name]}, tmp_path)
    assert_same_bits(tmp_path / name, spread / name)


def norms(folder: Path) -> list[float]:
    """Of the gradients of every step."""
    return [json.loads(line)["gradient_norm"] for line in (folder / "losses.jsonl").open()]


def assert_only_what_is_trained(checkpoint: Path, ended: Path) -> None:
    """The weights (ZeRO-2), and over two ranks a float32 copy of them and AdamW's two moments; and a few counters."""
    trained = json.loads((ended / "train.json").read_text())["trainable_parameters"]
    files = [torch.load(file, weights_only=False) for file in checkpoint.rglob("*.pt")]
    names = {name for file in files for name in file.get("module", {})}
    assert all(".lora_" in name or ".modules_to_save." in name for name in names)
    assert 3 * trained <= sum(map(numbers_in, files)) <= 4 * trained + 16


@pytest.mark.parametrize("kind", ["zero2", "zero3"])
def test_deepspeed_is_told_of_bfloat16_in_words_that_round_no_buffer(kind: str) -> None:
    found = lightning_precision(replace(RECIPE, precision="bf16-true"), Strategy(kind, 2))
    module = torch.nn.BatchNorm1d(2)
    assert DeepSpeedPrecision(found).convert_module(module).running_mean.dtype == torch.float32
    assert found == "bf16-mixed", "with which its engine computes in bfloat16"


@pytest.mark.parametrize("kind", ["zero2", "zero3"])
def test_what_is_offloaded_from_a_gpu_waits_in_pinned_memory(kind: str) -> None:
    for device, pinned in (("cuda", True), ("cpu", False)):
        found = lightning_strategy(Strategy(kind, 2, offload=True), 1, torch.device(device)).config["zero_optimization"]
        parts = [part for name, part in found.items() if name.startswith("offload_")]
        assert [part["pin_memory"] for part in parts] == [pinned] * (1 if kind == "zero2" else 2)


@pytest.mark.slow
def test_a_failing_worker_is_explained(llava: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "running", forked_ranks.running)
    broken = Bench(llava.vlm, llava.build | {"path": str(tmp_path / "nowhere")}, llava.pool)
    with pytest.raises(UserError, match="No LlavaForConditionalGeneration checkpoint"):
        broken.tune(tmp_path / "out", RECIPE, Strategy("ddp", 1))
