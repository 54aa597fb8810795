"""The bytes that a backward pass finds, counted as PyTorch saves them, against the formula; on every family."""

from dataclasses import replace

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from selectmm.flops.anatomy import anatomy_of
from selectmm.models.losses import answer_loss
from selectmm.models.vlm import VLM
from selectmm.planning.memory import Kept, activations, forward_memory, generating_memory, scoring_memory
from selectmm.tuning.adapter import trainable
from selectmm.tuning.fit import _checkpointing, _ready
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.targets import lora_pattern
from tests.families import BODIES, FAMILIES
from tests.flops.test_formulas import TEXT, encoded
from tests.tuning.conftest import RECIPE

RECIPES = {
    "float32": {"dropout": 0.0},
    "dropout": {"dropout": 0.1},
    "attention": {"dropout": 0.0, "lora_layers": "attention"},
    "mixed": {"dropout": 0.0, "precision": "bf16-mixed"},
    "mixed, dropout": {"dropout": 0.1, "precision": "bf16-mixed"},
}
CPU_MASK = 4  # bytes of a number of dropout's mask; a GPU's has 1


@pytest.fixture(scope="module", params=BODIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return FAMILIES[request.param].load(tmp_path_factory.mktemp("model") / request.param)


def saved(vlm: VLM, recipe: Recipe) -> tuple[int, int, int]:
    """Bytes of distinct storages that the forward pass of two texts saves, without weights; its tokens; its answers.

    What enters the first layer needs a gradient, as it does where an image's states come from a trained projector.
    """
    batch, found = encoded(vlm, TEXT, TEXT), {}
    half = recipe.precision == "bf16-mixed"
    with trainable(vlm, recipe, keep=True) as wrapped, _checkpointing(wrapped, recipe):
        _ready(wrapped, recipe)
        weights = {id(w): w for w in [*wrapped.parameters(), *wrapped.buffers()]}.values()
        own = {weight.untyped_storage().data_ptr() for weight in weights}
        shapes = {tuple(shape) for weight in weights for shape in (weight.shape, weight.shape[::-1])}
        embed = wrapped.get_base_model().get_input_embeddings()
        hook = embed.register_forward_hook(lambda _module, _inputs, output: output.requires_grad_())

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            copied = half and tensor.dtype == torch.bfloat16 and tuple(tensor.shape) in shapes  # a weight in 16 bits
            if tensor.untyped_storage().data_ptr() not in own and not copied:
                found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=half):
            answer_loss(wrapped.get_base_model(), batch)
        hook.remove()
    answers = int((batch["labels"][:, 1:] != -100).sum())
    return sum(storage.nbytes() for storage in found.values()), batch["input_ids"].numel(), answers


@pytest.mark.parametrize("name", ["float32", "attention", "mixed, dropout"])
def test_what_is_saved_is_what_is_planned(name: str, vlm: VLM) -> None:
    holds_for(name, vlm)


@pytest.mark.parametrize("vlm", ["llava_chatml", "llava_phi2", "qwen3_vl"], indirect=True)  # Llama's, Phi's, Qwen's
@pytest.mark.parametrize("name", ["dropout", "mixed"])
def test_what_is_saved_with_one_of_them_is_what_is_planned(name: str, vlm: VLM) -> None:
    holds_for(name, vlm)


def holds_for(name: str, vlm: VLM) -> None:
    """Within 10 %; what is left are rotary positions, the norms' and attention's sums, and masks of rows."""
    recipe = replace(RECIPE, **RECIPES[name])
    mixed = recipe.precision == "bf16-mixed"
    if mixed:
        vlm.model.to(torch.bfloat16)
    try:
        counted, tokens, answers = saved(vlm, recipe)
    finally:
        vlm.model.float()
    body = anatomy_of(vlm, lora_pattern(vlm, recipe))
    kept = Kept(recipe.rank, recipe.dropout, 2 if mixed else 4, mixed, CPU_MASK)
    planned = activations(body, kept, checkpointing=False, tokens=tokens) + 4 * body.vocabulary * answers
    assert planned == pytest.approx(counted, rel=0.1)


def test_checkpointing_keeps_one_input_a_layer(vlm: VLM) -> None:
    recipe = replace(RECIPE, dropout=0.0, gradient_checkpointing=True)
    counted, tokens, answers = saved(vlm, recipe)
    body = anatomy_of(vlm, lora_pattern(vlm, recipe))
    opened = activations(body, Kept(recipe.rank, 0.0, 4), False, tokens) - 4 * body.width * tokens
    planned = activations(body, Kept(recipe.rank, 0.0, 4), True, tokens) - opened / len(body.layers)
    assert planned + 4 * body.vocabulary * answers == pytest.approx(counted, rel=0.1)


def test_generation_keeps_keys_and_values(vlm: VLM) -> None:
    batch = encoded(vlm, TEXT)
    cache = vlm.model.model(input_ids=batch["input_ids"], use_cache=True).past_key_values
    kept = sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))
    body, tokens = anatomy_of(vlm), batch["input_ids"].numel()
    passing = forward_memory(body, 4, tokens).activations
    assert generating_memory(body, 4, tokens).activations - passing == kept


def test_likelihoods_hold_the_logits_of_all_tokens_twice(vlm: VLM) -> None:
    batch = encoded(vlm, TEXT)
    logits = vlm.model(input_ids=batch["input_ids"]).logits
    body, tokens = anatomy_of(vlm), batch["input_ids"].numel()
    passing = forward_memory(body, 4, tokens).activations
    held = logits.nbytes + logits.log_softmax(-1).nbytes
    assert scoring_memory(body, 4, tokens).activations - passing == held
