"""What cannot work is said in one sentence, before the long part where it can be known."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from selectmm.errors import UserError, sentences_of_loaders
from selectmm.launch.devices import check_devices
from selectmm.models.memory import enough_memory
from selectmm.models.vlm import VLM
from selectmm.pool.passing import NotNow
from selectmm.tuning.finetune import check_tunable
from selectmm.tuning.recipe import Recipe, Strategy
from selectmm.tuning.strategy import check_buildable
from tests.tuning.conftest import RECIPE, SINGLE, Bench

FULL = replace(RECIPE, tune="full", rank=0, alpha=0, dropout=0.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rank": 0}, "recipe.tune=lora needs a rank; set recipe.rank, or recipe.tune=full"),
        (
            {"tune": "full", "projector": "lora"},
            "no LoRA beside them; set recipe.projector=full and recipe.vision_lr=0",
        ),
        ({"tune": "full", "vision_lr": 1e-4}, "no LoRA beside them; set recipe.projector=full and recipe.vision_lr=0"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(changed: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        replace(RECIPE, **changed)


@pytest.mark.parametrize("kind", ["ddp", "single"])
def test_only_deepspeed_offloads(kind: str) -> None:
    with pytest.raises(UserError, match=f"Only DeepSpeed offloads, strategy '{kind}' does not; use zero2_offload"):
        Strategy(kind, 1, offload=True)


def test_a_missing_compiler_is_named_where_offload_needs_it() -> None:
    offload, nothing = Strategy("zero2", 2, offload=True), {"PATH": ""}
    with pytest.raises(UserError, match=r"'zero2' with offload needs a C\+\+ compiler .* or use strategy zero2\."):
        check_buildable(offload, torch.device("cuda"), nothing)
    check_buildable(offload, torch.device("cpu"), nothing)  # which compiles nothing
    check_buildable(Strategy("zero2", 2), torch.device("cuda"), nothing)


def test_more_devices_than_there_are_gpus_are_refused() -> None:
    with pytest.raises(UserError, match=r"devices=99 needs as many GPUs, but there are \d+; set fewer\."):
        check_devices(99, torch.device("cuda"))
    check_devices(99, torch.device("cpu"))


class Odd(Dataset[int]):
    """Its only row cannot be read."""

    def __init__(self, kind: type[UserError]) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise self.kind("Row 3 is odd; mend it.") from ValueError("cut")


@pytest.mark.parametrize("kind", [UserError, NotNow])
def test_a_loader_process_says_its_sentence_alone(kind: type[UserError]) -> None:
    """PyTorch hands on the traceback as the message; on a GPU rows are read by such processes."""
    with pytest.raises(UserError) as caught, sentences_of_loaders():
        next(iter(DataLoader(Odd(kind), batch_size=None, num_workers=1)))
    assert str(caught.value) == "Row 3 is odd; mend it."
    with pytest.raises(UserError, match=r"^Another\.$"), sentences_of_loaders():
        raise UserError("Another.")


def test_a_gpu_that_is_too_small_is_told_with_the_way_out() -> None:
    said = "The GPU's memory ran out while 32 rows were read: lower batch_size."
    with pytest.raises(UserError, match=said), enough_memory("32 rows were read", "lower batch_size"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")


def test_main_memory_that_is_too_small_is_told_with_the_way_out_and_other_errors_stay() -> None:
    said = "^Memory ran out while 32 rows were read: lower batch_size."
    with pytest.raises(UserError, match=said), enough_memory("32 rows were read", "lower batch_size"):
        torch.empty(2**50)
    with pytest.raises(RuntimeError, match="mat1"), enough_memory("32 rows were read", "lower batch_size"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_lora_where_there_is_no_linear_layer_is_refused(llava: Bench) -> None:
    """The embedded model's tower is such a one; see ``quickstart/test_base.py``."""
    for part, recipe in (
        ("vision", replace(RECIPE, vision_lr=1e-4)),
        ("projector", replace(RECIPE, projector="lora")),
    ):
        without = replace(llava.vlm, family=replace(llava.vlm.family, **{part: "model.vision_tower.embeddings"}))
        with pytest.raises(
            UserError, match=f"The {part}.* of this llava model has no linear layers that LoRA could adapt"
        ):
            check_tunable(without, recipe, SINGLE)


@pytest.mark.parametrize(("recipe", "strategy"), [(FULL, SINGLE), (RECIPE, Strategy("zero3", 2))])
def test_four_bit_weights_are_neither_trained_nor_spread(
    llava: Bench, recipe: Recipe, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llava.vlm.model, "is_quantized", True, raising=False)
    with pytest.raises(
        UserError, match=r"A 4-bit model trains with recipe\.tune=lora and under every strategy but zero3"
    ):
        check_tunable(llava.vlm, recipe, strategy)
    check_tunable(llava.vlm, RECIPE, SINGLE)


@pytest.mark.parametrize("what", ["main memory", "a GPU"])
def test_memory_that_runs_out_is_explained(llava: Bench, what: str, tmp_path: Path) -> None:
    passes = []

    def run_out(_module: nn.Module, _inputs: tuple) -> None:
        passes.append(1)
        if len(passes) == 6:  # of two micro-batches a step: the second of the third
            if what == "a GPU":
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            torch.empty(2**50)

    hook = llava.vlm.model.model.language_model.register_forward_pre_hook(run_out)
    try:
        with pytest.raises(UserError) as problem:
            llava.tune(tmp_path)
    finally:
        hook.remove()
    said = str(problem.value)
    assert said.startswith("Memory ran out in step 3, on a micro-batch of ")
    for way_out in ("lower recipe.micro_batch (now 2)", "recipe.gradient_checkpointing=true", "strategy=zero3"):
        assert way_out in said
    assert "recipe.max_length (now 256)" in said
    assert [file.name for file in tmp_path.glob("checkpoint-*")] == ["checkpoint-00000002"]
    assert len(llava.tune(tmp_path)) == 4, "the same command goes on once there is memory again"


def test_another_error_stays_what_it_is(llava: Bench, tmp_path: Path) -> None:
    def fail(_module: nn.Module, _inputs: tuple) -> None:
        raise RuntimeError("something else")

    hook = llava.vlm.model.model.language_model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="something else"):
            llava.tune(tmp_path)
    finally:
        hook.remove()


def test_what_does_not_fit_together_is_known_without_rows(llava: Bench) -> None:
    nothing: VLM = replace(llava.vlm, family=replace(llava.vlm.family, lora=r".*\.no_such_projection"))
    with pytest.raises(UserError, match=r"matches the LoRA pattern .*no_such_projection"):
        check_tunable(nothing, RECIPE, SINGLE)
    check_tunable(nothing, FULL, SINGLE)
