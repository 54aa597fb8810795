"""Full fine-tuning: the language model's own weights are trained, saved and put in place."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from selectmm.errors import UserError
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.losses import answer_logits
from selectmm.tuning import fit
from selectmm.tuning.adapter import carry_adapter, load_adapter
from selectmm.tuning.full import TRAINED
from selectmm.tuning.job import Task
from selectmm.tuning.module import Tuning
from selectmm.tuning.recipe import Strategy
from tests.tuning.conftest import FEW, SMALL, Bench
from tests.tuning.crowd import Case, train
from tests.tuning.test_finetune import assert_same, snapshot
from tests.tuning.test_kill import numbers_in

FULL = replace(SMALL, tune="full", rank=0, alpha=0, dropout=0.0, lr=1e-3)


def batch_of(bench: Bench) -> Batch:
    """Rows with and without an image."""
    samples = [bench.pool[row] for row in (0, 2, 3)]
    talks = [Conversation(s.turns, (bench.pool.open_image(s.image),) if s.image else ()) for s in samples]
    return encode(bench.vlm, talks, side="right", limit=None)


def logits_of(bench: Bench) -> torch.Tensor:
    """Of the answers, with the model as it is at this moment."""
    model = bench.vlm.model
    training = model.training
    model.eval()
    with torch.no_grad():
        logits = answer_logits(model, batch_of(bench))[0]
    model.train(training)
    return logits


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_what_is_saved_gives_the_logits_that_training_ended_with(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bench: Bench = request.getfixturevalue(family)
    before, plain, ends = snapshot(bench.vlm), logits_of(bench), []
    losses = bench.tune(tmp_path, replace(FULL, epochs=4, clip=1.0), log=lambda entry: ends.append(logits_of(bench)))
    assert losses[-1] < losses[0] - 0.2
    assert_same(snapshot(bench.vlm), before)
    assert {file.name for file in tmp_path.iterdir()} == {TRAINED, "losses.jsonl", "train.json"}
    for load in (load_adapter, carry_adapter):
        with load(bench.vlm, tmp_path) as tuned:
            assert torch.equal(logits_of(bench), ends[-1])
            assert tuned.identity != bench.vlm.identity
        assert torch.equal(logits_of(bench), plain)
    assert_same(snapshot(bench.vlm), before)


def test_language_model_head_and_projector_are_trained_and_the_tower_is_not(llava: Bench, tmp_path: Path) -> None:
    names = {name for name, _ in llava.vlm.model.named_parameters()}
    parts = ("model.language_model.", "lm_head.", "model.multi_modal_projector.")
    for recipe, homes in ((FULL, parts), (replace(FULL, projector_lr=0.0), parts[:2])):
        folder = tmp_path / str(len(homes))
        llava.tune(folder, replace(recipe, epochs=0.4, warmup=0.0))
        trained = load_file(folder / TRAINED)
        assert trained.keys() == {name for name in names if name.startswith(homes)} < names
        own = dict(llava.vlm.model.named_parameters())
        assert not any(torch.equal(weight, own[name]) for name, weight in trained.items() if weight.ndim > 1)


def test_the_projector_has_its_own_rate(llava: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path, replace(FULL, epochs=1, lr=0.0, weight_decay=0.0))
    own = dict(llava.vlm.model.named_parameters())
    moved = {name for name, weight in load_file(tmp_path / TRAINED).items() if not torch.equal(weight, own[name])}
    assert moved == {name for name in own if "multi_modal_projector" in name}


def test_a_killed_run_goes_on_and_its_checkpoint_holds_no_frozen_weight(llava: Bench, tmp_path: Path) -> None:
    def stop(entry: dict[str, float]) -> None:
        if entry["step"] == 3:
            raise KeyboardInterrupt

    before = snapshot(llava.vlm)
    llava.tune(tmp_path / "whole", FULL)
    with pytest.raises(KeyboardInterrupt):
        llava.tune(tmp_path / "killed", FULL, log=stop)
    assert_same(snapshot(llava.vlm), before)
    state = torch.load(tmp_path / "killed/checkpoint-00000002/state.pt", weights_only=True)
    trained = load_file(tmp_path / "whole" / TRAINED)
    assert {name.removeprefix("model.") for name in state["weights"]} == trained.keys()
    assert len(state["optimizer"]) == len(trained)
    llava.tune(tmp_path / "killed", FULL)
    assert (tmp_path / "killed" / TRAINED).read_bytes() == (tmp_path / "whole" / TRAINED).read_bytes()


def test_a_bfloat16_model_comes_back_and_is_saved_in_its_own_dtype(llava: Bench, tmp_path: Path) -> None:
    weights = {name: weight.data for name, weight in llava.vlm.model.named_parameters()}
    try:
        for weight in llava.vlm.model.parameters():
            weight.data = weight.data.bfloat16()
        before = snapshot(llava.vlm)
        llava.tune(tmp_path, replace(FULL, precision="bf16-mixed", epochs=1, gradient_checkpointing=True))
        assert_same(snapshot(llava.vlm), before)
        assert {weight.dtype for weight in load_file(tmp_path / TRAINED).values()} == {torch.bfloat16}
    finally:
        for name, weight in llava.vlm.model.named_parameters():
            weight.data = weights[name]


class Trainer:
    """Notes in what dtypes it is given what is to be trained."""

    def __init__(self) -> None:
        self.dtypes: set[torch.dtype] = set()

    def fit(self, module: Tuning, _data: object) -> None:
        self.dtypes = {weight.dtype for weight in module.trained().values()}


@pytest.mark.parametrize(
    ("kind", "precision", "dtype"),
    [
        ("ddp", "bf16-mixed", torch.float32),
        ("zero2", "bf16-mixed", torch.bfloat16),
        ("zero3", "bf16-mixed", torch.bfloat16),
        ("zero3", "32-true", torch.float32),
    ],
)
def test_no_device_holds_whole_float32_weights_where_deepspeed_shares_them_out(
    kind: str, precision: str, dtype: torch.dtype, llava: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DeepSpeed rounds what it is given to bfloat16 before it makes float32 weights of it."""
    trainer = Trainer()
    monkeypatch.setattr(fit, "_trainer", lambda *_: trainer)
    task = Task(replace(FULL, precision=precision), Strategy(kind, 2), 6, 0)
    weights = {name: weight.data for name, weight in llava.vlm.model.named_parameters()}
    try:
        fit.fit(llava.vlm, llava.pool, FEW, task, tmp_path, lambda _entry: None)
    finally:
        for name, weight in llava.vlm.model.named_parameters():
            weight.data = weights[name]
    assert trainer.dtypes == {dtype}


def test_weights_of_another_model_are_refused(llava: Bench, qwen: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path, replace(FULL, epochs=0.1))
    with (
        pytest.raises(UserError, match="were made for another model than this qwen2_vl"),
        load_adapter(qwen.vlm, tmp_path),
    ):
        pass


SPREAD = {
    "full-zero2": (FULL, Strategy("zero2", 2)),
    "full-zero3": (FULL, Strategy("zero3", 2)),
    "lora-zero2_offload": (SMALL, Strategy("zero2", 2, offload=True)),
    "full-zero3_offload": (FULL, Strategy("zero3", 2, offload=True)),
}


@pytest.fixture(scope="module")
def cases(llava: Bench) -> dict[str, Case]:
    return {name: Case(llava, strategy, FEW, recipe) for name, (recipe, strategy) in SPREAD.items()}


@pytest.fixture(scope="module")
def spread(cases: dict[str, Case], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases over two processes; a folder for each."""
    root = tmp_path_factory.mktemp("whole")
    train(cases, root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", SPREAD)
def test_two_processes_learn_what_one_learns(name: str, cases: dict[str, Case], spread: Path, tmp_path: Path) -> None:
    """Without offload and with it: what differs is the order of summing floats."""
    recipe = cases[name].recipe
    alone = cases[name].bench.tune(tmp_path, recipe)
    losses = [json.loads(line)["loss"] for line in (spread / name / "losses.jsonl").open()]
    assert losses == pytest.approx(alone, abs=1e-5)
    file = TRAINED if recipe.tune == "full" else "adapter_model.safetensors"
    weights, expected = load_file(spread / name / file), load_file(tmp_path / file)
    assert weights.keys() == expected.keys()
    for key, weight in expected.items():
        np.testing.assert_allclose(weights[key].numpy(), weight.numpy(), atol=1e-4)
    report = json.loads((spread / name / "train.json").read_text())
    assert report["trainable_parameters"] == sum(weight.numel() for weight in expected.values())


@pytest.mark.slow
def test_offload_changes_no_loss(spread: Path) -> None:
    """The losses of ZeRO-3 with offload and without, to rounding."""
    with_it, without = (
        [json.loads(line)["loss"] for line in (spread / name / "losses.jsonl").open()]
        for name in ("full-zero3_offload", "full-zero3")
    )
    assert with_it == pytest.approx(without, abs=1e-5)


@pytest.mark.slow
def test_a_killed_zero3_run_goes_on_and_its_checkpoint_holds_no_frozen_weight(
    cases: dict[str, Case], spread: Path, tmp_path: Path
) -> None:
    name = "full-zero3"
    train({name: cases[name]}, tmp_path, death=".checkpoint-00000004")
    (checkpoint,) = (tmp_path / name).glob("checkpoint-*")
    trained = json.loads((spread / name / "train.json").read_text())["trainable_parameters"]
    files = [torch.load(file, weights_only=False) for file in checkpoint.rglob("*.pt")]
    assert not any("vision_tower" in key for file in files for key in file.get("module", {}))
    assert 3 * trained <= sum(map(numbers_in, files)) <= 4 * trained + 200, "a few counters, and padding to two ranks"
    train({name: cases[name]}, tmp_path)
    assert (tmp_path / name / TRAINED).read_bytes() == (spread / name / TRAINED).read_bytes()
