"""Fine-tuning in this process."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import BloomConfig

from selectmm.errors import UserError
from selectmm.models.encode import Conversation, encode
from selectmm.models.inputs import inputs_of
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.pool.sample import Turn
from selectmm.tuning.adapter import load_adapter
from selectmm.tuning.checkpoint import read_meta
from selectmm.tuning.module import Tuning
from selectmm.tuning.recipe import Strategy
from tests.families import LLAVA, Tiny
from tests.tiny import tiny_llava
from tests.tuning.conftest import SMALL, Bench


def snapshot(vlm: VLM) -> dict[str, object]:
    """Everything of a model that fine-tuning could have left behind."""
    model = vlm.model
    return {
        "modules": {name: (type(module), id(module), module.training) for name, module in model.named_modules()},
        "weights": {name: (weight.dtype, weight.requires_grad) for name, weight in model.named_parameters()},
        "values": {name: tensor.clone() for name, tensor in [*model.named_parameters(), *model.named_buffers()]},
        "attributes": set(vars(model)) - {"_require_grads_hooks"},  # an empty list, once there was checkpointing
        "checkpointing": model.is_activation_checkpointing,
    }


def assert_same(after: Mapping[str, object], before: Mapping[str, object]) -> None:
    """Two snapshots agree, bit for bit."""
    for part in ("modules", "weights", "attributes", "checkpointing"):
        assert after[part] == before[part]
    assert after["values"].keys() == before["values"].keys()
    assert all(torch.equal(after["values"][name], value) for name, value in before["values"].items())


def test_the_loss_falls_and_the_folder_is_complete(llava: Bench, tmp_path: Path) -> None:
    losses = llava.tune(tmp_path, replace(SMALL, epochs=6, clip=1.0))
    assert losses[-1] < losses[0] - 0.2
    assert {file.name for file in tmp_path.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "losses.jsonl",
        "train.json",
    }
    report = json.loads((tmp_path / "train.json").read_text())
    assert (report["steps"], report["rows"], report["rows_cut"], report["world_size"]) == (18, 72, 0, 1)
    logged = [json.loads(line) for line in (tmp_path / "losses.jsonl").open()]
    assert [entry["step"] for entry in logged] == list(range(1, 19))
    assert [entry["loss"] for entry in logged] == losses
    assert logged[0]["lr"] == 0 and logged[2]["lr"] == SMALL.lr
    assert all(entry["tokens_per_second"] > 0 and entry["gradient_norm"] > 0 for entry in logged)
    assert sum(entry["tokens_per_second"] * entry["seconds"] for entry in logged) == pytest.approx(report["tokens"])


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(llava: Bench, tmp_path: Path) -> None:
    def kill_at(step: int) -> None:
        def log(entry: dict[str, float]) -> None:
            if entry["step"] == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            llava.tune(tmp_path / "killed", log=log)

    losses = llava.tune(tmp_path / "whole")
    torch.manual_seed(1)  # the global state must not matter
    kill_at(3)
    assert [file.name for file in (tmp_path / "killed").glob("checkpoint-*")] == ["checkpoint-00000002"]
    kill_at(5)
    assert llava.tune(tmp_path / "killed") == losses[4:]
    for name in ("adapter_model.safetensors", "adapter_config.json", "train.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    logged = [json.loads(line)["loss"] for line in (tmp_path / "killed" / "losses.jsonl").open()]
    assert logged == losses


def test_a_finished_folder_is_left_alone_but_for_what_a_kill_left_in_it(llava: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path)
    ended = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    (tmp_path / "checkpoint-00000004").mkdir()
    for name in ("rows.arrow", "worker.log", "error-1.txt"):
        (tmp_path / name).touch()
    assert llava.tune(tmp_path) == []
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == ended


@pytest.mark.parametrize("family", ["llava", "qwen"])
@pytest.mark.parametrize(
    ("precision", "dtype", "checkpointing"),
    [
        ("32-true", torch.float32, True),
        ("32-true", torch.bfloat16, False),
        ("bf16-mixed", torch.float32, False),
        ("bf16-true", torch.bfloat16, False),
    ],
)
def test_the_model_comes_back_unchanged(
    family: str,
    precision: str,
    dtype: torch.dtype,
    checkpointing: bool,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    bench: Bench = request.getfixturevalue(family)
    weights = {name: weight.data for name, weight in bench.vlm.model.named_parameters()}
    try:
        for weight in bench.vlm.model.parameters():
            weight.data = weight.data.to(dtype)
        before, state = snapshot(bench.vlm), torch.get_rng_state()
        recipe = replace(SMALL, precision=precision, gradient_checkpointing=checkpointing, epochs=1)
        bench.tune(tmp_path, recipe)
        assert_same(snapshot(bench.vlm), before)
        assert torch.equal(torch.get_rng_state(), state)
    finally:
        for name, weight in bench.vlm.model.named_parameters():
            weight.data = weights[name]


def test_an_interrupted_run_leaves_the_model_unchanged_too(llava: Bench, tmp_path: Path) -> None:
    def stop(_entry: dict[str, float]) -> None:
        raise KeyboardInterrupt

    before = snapshot(llava.vlm)
    with pytest.raises(KeyboardInterrupt):
        llava.tune(tmp_path, log=stop)
    assert_same(snapshot(llava.vlm), before)


def test_gradient_checkpointing_changes_nothing(llava: Bench, tmp_path: Path) -> None:
    losses = llava.tune(tmp_path / "plain")
    assert llava.tune(tmp_path / "checkpointed", replace(SMALL, gradient_checkpointing=True)) == pytest.approx(losses)


@pytest.mark.parametrize("family", ["llava", "qwen"])
def test_a_loaded_adapter_is_active_in_the_block_alone(
    family: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bench: Bench = request.getfixturevalue(family)
    bench.tune(tmp_path, replace(SMALL, epochs=4, clip=1.0, warmup=0.0), rows=np.zeros(4, np.int64))
    sample = bench.pool[0]
    talk = Conversation(sample.turns, (bench.pool.open_image(sample.image),))
    batch = encode(bench.vlm, [talk], side="right", limit=256)
    before, plain = snapshot(bench.vlm), float(answer_loss(bench.vlm.model, batch))
    with load_adapter(bench.vlm, tmp_path) as tuned:
        assert float(answer_loss(tuned.model, batch)) < plain - 0.1
        assert tuned.identity != bench.vlm.identity
        assert not any(weight.requires_grad for weight in tuned.model.parameters())
    assert_same(snapshot(bench.vlm), before)
    assert float(answer_loss(bench.vlm.model, batch)) == plain


def test_an_adapter_of_another_model_is_refused(llava: Bench, qwen: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path, replace(SMALL, epochs=0.1))
    with pytest.raises(UserError, match="another model"), load_adapter(qwen.vlm, tmp_path):
        pass
    with pytest.raises(UserError, match="no adapter"), load_adapter(qwen.vlm, tmp_path / "nowhere"):
        pass


def test_without_a_projector_rate_the_projector_is_not_trained(llava: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path, replace(SMALL, projector_lr=0.0, epochs=1))
    assert not any("multi_modal_projector" in name for name in load_file(tmp_path / "adapter_model.safetensors"))


def test_repeated_rows_are_trained_on_as_often_as_they_are_given(llava: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path, replace(SMALL, epochs=1, batch_size=8), rows=np.array([0, 0, 0, 3, 3, 1, 1, 2]))
    report = json.loads((tmp_path / "train.json").read_text())
    assert (report["steps"], report["rows"]) == (1, 8)


def test_cut_rows_are_counted(llava: Bench, tmp_path: Path) -> None:
    text = np.array([3, 7, 11, 15])
    recipe = replace(SMALL, batch_size=4, epochs=1, projector_lr=0.0, max_length=len_of_prompt(llava))
    llava.tune(tmp_path, recipe, rows=text)
    report = json.loads((tmp_path / "train.json").read_text())
    assert report["rows_cut"] == 4
    assert report["answer_tokens"] > 0


def len_of_prompt(bench: Bench) -> int:
    """Tokens of a text-only row up to and including the first answer token."""
    turns = bench.pool[3].turns
    batch = encode(bench.vlm, [Conversation(turns)], side="right", limit=None)
    return int((batch["labels"][0] != -100).nonzero()[0]) + 1


def test_user_errors_are_sentences(llava: Bench, tmp_path: Path) -> None:
    text = np.array([3, 7, 11, 15])
    nothing = replace(llava.vlm, family=replace(llava.vlm.family, lora=r".*\.no_such_projection"))
    cases = [
        (llava, replace(SMALL, batch_size=7), None, "not a multiple"),
        (llava, SMALL, np.empty(0, np.int64), "no rows"),
        (llava, replace(SMALL, precision="8-bit"), None, "not one of"),
        (llava, replace(SMALL, precision="bf16-true"), None, "needs a bfloat16 model"),
        (llava, replace(SMALL, checkpoint_every=0), None, "checkpoint_every"),
        (llava, replace(SMALL, max_length=5, projector_lr=0.0), text, "nothing to learn"),
        (
            llava,
            replace(SMALL, max_length=5),
            None,
            r"does not fit in 5 tokens; raise recipe\.max_length, or show .* \(Qwen: model\.max_pixels",
        ),
        (llava, replace(SMALL, lr=1e30, warmup=0.0), None, "lower recipe.lr"),
        (replace(llava, vlm=nothing), SMALL, None, "no_such_projection"),
    ]
    for number, (bench, recipe, rows, message) in enumerate(cases):
        with pytest.raises(UserError, match=message):
            bench.tune(tmp_path / str(number), recipe, rows=rows)


@pytest.mark.parametrize(
    ("other", "rows", "message"),
    [
        ({"lr": 2e-2}, 12, r"checkpoint-00000002 was written under recipe.lr=0.01, not 0.02; go on with the first, or"),
        ({"clip": 1.0}, 12, "recipe.clip=0.05, not 1.0"),
        ({"epochs": 3}, 12, "steps=6, not 9"),
        ({}, 11, "rows=[0-9a-f]{16}, not [0-9a-f]{16}"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    llava: Bench, tmp_path: Path, other: dict[str, object], rows: int, message: str
) -> None:
    stop_at_step_3(llava, tmp_path)
    with pytest.raises(UserError, match=message):
        llava.tune(tmp_path, replace(SMALL, **other), rows=np.arange(rows))


def test_a_checkpoint_of_another_strategy_is_refused_before_workers_start(llava: Bench, tmp_path: Path) -> None:
    stop_at_step_3(llava, tmp_path)
    with pytest.raises(UserError, match=r"under strategy.kind=single, not ddp"):
        llava.tune(tmp_path, strategy=Strategy("ddp", 2))
    assert not (tmp_path / "job.json").exists()


def test_what_names_no_result_may_change_on_the_way(llava: Bench, tmp_path: Path) -> None:
    """How often checkpoints are written, and what steps are counted by; also where the checkpoint notes the latter."""
    stop_at_step_3(llava, tmp_path)
    meta = tmp_path / "checkpoint-00000002" / "meta.json"
    noted = json.loads(meta.read_text())
    meta.write_text(json.dumps({**noted, "asked": {**noted["asked"], "recipe.length": "epochs"}}))
    assert len(llava.tune(tmp_path, replace(SMALL, checkpoint_every=1, length="steps", epochs=1.05))) == 4


def stop_at_step_3(bench: Bench, folder: Path) -> None:
    """After the first checkpoint, of step 2."""

    def stop(entry: dict[str, float]) -> None:
        if entry["step"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench.tune(folder, log=stop)


@pytest.mark.parametrize("last", [2, 6])
def test_a_gradient_that_is_no_number_ends_the_training_and_nothing_of_it_is_kept(
    llava: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """In the step that a checkpoint follows, and in the last one: the loss itself is as usual."""
    whole, step = Tuning.on_before_optimizer_step, iter(range(1, 9))

    def spoilt(self: Tuning, optimizer: torch.optim.Optimizer) -> None:
        if next(step) == last:
            next(iter(self.trained().values())).grad.view(-1)[0] = float("nan")
        whole(self, optimizer)

    monkeypatch.setattr(Tuning, "on_before_optimizer_step", spoilt)
    said = rf"^The gradient of step {last} has a norm of nan; lower recipe\.lr .* The last checkpoint before it is kept"
    with pytest.raises(UserError, match=said):
        llava.tune(tmp_path)
    assert not (tmp_path / "train.json").exists() and not list(tmp_path.glob("*.safetensors"))
    assert [folder.name for folder in tmp_path.glob("checkpoint-*")] == ([] if last == 2 else ["checkpoint-00000004"])
    monkeypatch.setattr(Tuning, "on_before_optimizer_step", whole)
    assert len(llava.tune(tmp_path)) == (6 if last == 2 else 2), "it goes on from before"


def test_a_model_that_cannot_be_packed_is_refused_before_anything_starts(pool: Pool, tmp_path: Path) -> None:
    tiny = Tiny(partial(tiny_llava, body=BloomConfig), {"_target_": LLAVA, "template": "chatml"})
    bench = Bench(tiny.load(tmp_path / "model"), {}, pool)
    with pytest.raises(UserError, match=r"recipe.packing is not supported for this llava model"):
        bench.tune(tmp_path / "out", replace(SMALL, packing=True))
    assert not list((tmp_path / "out").iterdir())


def test_a_question_without_image_can_be_asked_of_the_tuned_model(llava: Bench, tmp_path: Path) -> None:
    llava.tune(tmp_path, replace(SMALL, epochs=1))
    batch = encode(llava.vlm, [Conversation((Turn("user", "How much?"),))], side="left", limit=256)
    inputs = inputs_of(batch)
    with load_adapter(llava.vlm, tmp_path) as tuned:
        out = tuned.model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[1] > inputs["input_ids"].shape[1]


@pytest.mark.parametrize("kind", ["single", "ddp", "zero2"])
def test_any_number_of_devices_goes_on(kind: str, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"asked": asked_on(kind, 2), "step": 3, "counts": [1]}))
    assert read_meta(tmp_path, asked_on(kind, 4)) == (3, [1])


def test_sharded_state_goes_on_with_the_devices_that_wrote_it(tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text(json.dumps({"asked": asked_on("zero3", 2), "step": 3, "counts": [1]}))
    with pytest.raises(UserError, match=r"was written under devices=2, not 4; go on with the first, or delete"):
        read_meta(tmp_path, asked_on("zero3", 4))


def asked_on(kind: str, devices: int) -> dict[str, object]:
    return {"strategy.kind": kind, "strategy.devices": devices, "seed": 0}
