"""The bytes of weights, gradients and optimiser state against those of real tensors."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selectmm.flops.anatomy import anatomy_of
from selectmm.models.llava import VICUNA, family
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.planning.memory import training_memory
from selectmm.tuning.adapter import trainable
from selectmm.tuning.fit import _ready
from selectmm.tuning.module import Tuning
from selectmm.tuning.recipe import Strategy
from selectmm.tuning.targets import lora_pattern
from tests.families import FAMILIES
from tests.flops.test_formulas import TALK, encoded
from tests.tuning.conftest import RECIPE, SINGLE

from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration  # isort: skip (after selectmm lets torchvision import)


def bytes_of(tensors: list[torch.Tensor]) -> int:
    """Of distinct tensors: tied ones count once."""
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(t): t for t in tensors}.values())


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("llava_vicuna", {}),
        ("llava_phi2", {"projector_lr": 0.0}),
        ("qwen3_vl", {"lora_layers": "attention"}),
        ("internvl3", {"projector": "lora"}),
        ("llava_onevision", {"vision_lr": 1e-3}),
        ("llava_vicuna", {"precision": "bf16-mixed"}),
        ("llava_vicuna", {"tune": "full"}),
        ("llava_vicuna", {"vision_lr": 1e-3}),
        ("qwen2_vl", {"precision": "bf16-mixed", "projector_lr": 0.0, "tune": "full"}),
        ("qwen2_vl", {"precision": "bf16-mixed", "vision_lr": 1e-3, "projector": "lora"}),
    ],
)
def test_weights_gradients_and_moments_are_those_of_the_tensors(
    name: str, changed: dict[str, object], tmp_path: Path
) -> None:
    vlm = FAMILIES[name].load(tmp_path / name)
    recipe = replace(RECIPE, **changed)
    half = recipe.precision == "bf16-mixed"
    if half:
        vlm.model.to(torch.bfloat16)
    body = anatomy_of(vlm, None if recipe.tune == "full" else lora_pattern(vlm, recipe))
    planned = training_memory(body, recipe, SINGLE, vlm.model.dtype.itemsize, longest=100)
    with trainable(vlm, recipe, keep=False) as wrapped:
        _ready(wrapped, recipe)
        module = Tuning(wrapped, recipe, vlm.family, steps=1, done=0, seed=0, offload=False)
        optimizer = module.configure_optimizers()["optimizer"]
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            answer_loss(wrapped.get_base_model(), encoded(vlm, TALK)).backward()
        optimizer.step()
        assert planned.weights == bytes_of(list(wrapped.parameters()))
        trained = list(module.trained().values())
        assert planned.gradients == bytes_of([weight.grad for weight in trained])
        moments = [state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")]
        assert planned.optimizer == bytes_of(moments)


def real_llava_7b() -> VLM:
    """LLaVA-1.5-7B as shapes: Llama-7B with 64 more tokens, CLIP ViT-L/14 at 336 pixels."""
    vision = CLIPVisionConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=336,
        patch_size=14, projection_dim=768,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=32064, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration._from_config(
            LlavaConfig(vision_config=vision, text_config=text), dtype=torch.bfloat16
        )
    return VLM(model, None, family(VICUNA), "shapes")


def test_llava_7b_has_the_parameters_of_its_published_weights_without_loading_any() -> None:
    # llava-hf/llava-1.5-7b-hf: model.safetensors.index.json gives 14,126,854,144 bytes of 2-byte numbers.
    body = anatomy_of(real_llava_7b())
    assert body.parameters == 14_126_854_144 // 2
    # LoRA of rank 128 on 32 layers of 4 × (4096 + 4096) and 3 × (4096 + 11008), counted by hand.
    assert body.lora(128) == 128 * 32 * (4 * 8192 + 3 * 15104) == 319_815_680
    assert body.projector == 1024 * 4096 + 4096 * 4096 and body.projector_first == 1024 * 4096


@pytest.mark.parametrize(
    ("kind", "devices", "weights", "gradients", "optimizer"),
    [("single", 1, 2 * 7.0634 + 4 * 0.3408, 4 * 0.3408, 8 * 0.3408),
     ("ddp", 2, 2 * 7.0634 + 4 * 0.3408, 8 * 0.3408, 8 * 0.3408),
     ("zero2", 4, 2 * (7.0634 + 0.3408), 2 * 0.3408 / 4, 12 * 0.3408 / 4),
     ("zero3", 4, 2 * (7.0634 + 0.3408) / 4, 2 * 0.3408 / 4, 12 * 0.3408 / 4)],
)  # fmt: skip
def test_what_a_strategy_spreads_over_devices(
    kind: str, devices: int, weights: float, gradients: float, optimizer: float
) -> None:
    # 0.3408 billion trained: LoRA's 319.8 million and the projector's 20.98 million.
    recipe = replace(RECIPE, rank=128, precision="bf16-mixed", gradient_checkpointing=True, micro_batch=16)
    planned = training_memory(anatomy_of(real_llava_7b()), recipe, Strategy(kind, devices), 2, longest=2048)
    found = planned.weights / 1e9, planned.gradients / 1e9, planned.optimizer / 1e9
    assert found == pytest.approx((weights, gradients, optimizer), rel=1e-4)


def test_offloading_leaves_the_weights_under_zero2_and_nothing_but_work_under_zero3() -> None:
    body, recipe = anatomy_of(real_llava_7b()), replace(RECIPE, precision="bf16-mixed")
    for kind, weights in (("zero2", 2 * (body.parameters + body.trained(recipe))), ("zero3", 0)):
        planned = training_memory(body, recipe, Strategy(kind, 2, offload=True), 2, longest=100)
        assert (planned.weights, planned.gradients, planned.optimizer) == (weights, 0, 0)
        assert planned.activations > 0


def test_devices_that_share_a_micro_batch_hold_a_part_of_it_each() -> None:
    body = anatomy_of(real_llava_7b())
    recipe = replace(RECIPE, precision="bf16-mixed", batch_size=128, micro_batch=16)
    shared = training_memory(body, recipe, Strategy("ddp", 32), 2, longest=1000)
    assert shared == training_memory(body, replace(recipe, micro_batch=4), Strategy("ddp", 32), 2, longest=1000)
    assert shared.activations < training_memory(body, recipe, Strategy("ddp", 8), 2, longest=1000).activations


def test_checkpointing_leaves_a_layer_s_input_and_zero3_gathers_layers() -> None:
    body = anatomy_of(real_llava_7b())
    recipe = replace(RECIPE, precision="bf16-mixed", gradient_checkpointing=True, micro_batch=1)
    kept = training_memory(body, recipe, SINGLE, 2, longest=1000).activations
    less = training_memory(body, replace(recipe, gradient_checkpointing=False), SINGLE, 2, longest=1000).activations
    assert kept > 1000 * 2 * 4096 * 32, "the inputs of 32 layers"
    assert less > 8 * kept
    assert training_memory(body, recipe, Strategy("zero3", 8), 2, longest=1000).activations > kept
