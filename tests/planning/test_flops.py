"""The formulas against PyTorch's own FLOP counter, on a tiny model of every family."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from selectmm.features.feature import Seen
from selectmm.features.gradients import Scope, row_gradients
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.forward import Reads, answer_logits, answer_loss, run
from selectmm.models.vlm import VLM
from selectmm.planning import flops
from selectmm.planning.anatomy import Anatomy, Layer, anatomy_of
from selectmm.planning.flops import Load
from selectmm.planning.load import load_of
from selectmm.pool.sample import Turn
from selectmm.tuning.adapter import injected, lora_config
from selectmm.tuning.fit import _checkpointing, _ready
from selectmm.tuning.recipe import Recipe
from tests.families import FAMILIES
from tests.tuning.conftest import RECIPE

TALK = Conversation(
    (Turn("user", "What colour is the shape?"), Turn("assistant", "The shape is a square.")),
    (Image.new("RGB", (200, 120), (90, 120, 30)),),
)
TEXT = Conversation(TALK.turns)


@pytest.fixture(scope="module", params=FAMILIES)
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    """Attention as plain products: the counter knows no fused kernel of a CPU."""
    vlm = FAMILIES[request.param].load(tmp_path_factory.mktemp("model") / request.param)
    vlm.model.set_attn_implementation("eager")
    return vlm


def encoded(vlm: VLM, *talks: Conversation) -> Batch:
    return encode(vlm, talks, side="right", limit=None)


def counted(passed: object) -> int:
    with FlopCounterMode(display=False) as counter:
        passed()
    return counter.get_total_flops()


def load(vlm: VLM, *talks: Conversation) -> Load:
    return sum((load_of(vlm, encoded(vlm, talk), 10**6) for talk in talks), Load())


def test_forward_of_everything(vlm: VLM) -> None:
    body = anatomy_of(vlm)
    for talk in (TALK, TEXT):
        with torch.no_grad():
            real = counted(lambda talk=talk: answer_logits(vlm.model, encoded(vlm, talk)))
        assert flops.forward(body, load(vlm, talk)) == real


def test_forward_up_to_a_layer(vlm: VLM) -> None:
    body = anatomy_of(vlm)
    with torch.no_grad():
        real = counted(lambda: run(vlm, encoded(vlm, TALK), Reads(layers=frozenset({1}))))
    assert flops.forward(body, load(vlm, TALK), depth=1) == real


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_training_step(vlm: VLM, checkpointing: bool) -> None:
    recipe = replace(RECIPE, gradient_checkpointing=checkpointing, dropout=0.0)
    assert flops.training(anatomy_of(vlm), load(vlm, TALK), recipe.rank, True, checkpointing) == stepped(vlm, recipe)


def test_a_training_step_with_the_projector_frozen_spares_the_first_layer_s_inputs(vlm: VLM) -> None:
    recipe = replace(RECIPE, projector_lr=0.0)
    assert flops.training(anatomy_of(vlm), load(vlm, TALK), recipe.rank, False, False) == stepped(vlm, recipe)


def stepped(vlm: VLM, recipe: Recipe) -> int:
    """FLOPs of one forward and backward pass of training, counted."""
    batch = encoded(vlm, TALK)
    with injected(vlm, lora_config(vlm, recipe)) as wrapped, _checkpointing(wrapped, recipe):
        _ready(wrapped, recipe)
        return counted(lambda: answer_loss(wrapped.get_base_model(), batch).backward())


@pytest.mark.parametrize("scope", ["self_attn", "all_linear"])
def test_gradients_of_every_row(vlm: VLM, scope: Scope) -> None:
    body = anatomy_of(vlm)
    with injected(vlm, lora_config(vlm, RECIPE)) as wrapped:
        wrapped.eval().requires_grad_(False)
        seen = Seen(vlm, [TALK, TALK], Reads(), 10**6)
        real = counted(lambda: row_gradients(seen, scope, lambda name, gradient: None))
    planned = flops.row_gradients(body, load(vlm, TALK, TALK), RECIPE.rank, scope == "all_linear")
    if vlm.model.config.text_config.model_type == "phi" and scope == "self_attn":
        assert real < planned < 1.1 * real, "the MLP beside the first attention is not on the way: README.md"
    else:
        assert planned == real


def test_a_layer_by_hand() -> None:
    # Width 4, MLP 8, queries 4: 4 · 16 weights of attention and 3 · 32 of the MLP; 10 tokens, 3 of them answers.
    layer = Layer(160, 160, 48, 4, 4, 8, 4 * 8 + 3 * 12, 4 * 8, 4 * 4 + 2 * 4 + 8, 12, 4)
    body = Anatomy(1000, 4, 5, (layer, layer), 0, 0, 0)
    rows = Load(1, 10, 100, 0, 3, 7, 10)
    assert flops.forward(body, rows) == 7 + 2 * (2 * 160 * 10 + 4 * 4 * 100) + 2 * 20 * 3
    assert flops.forward(body, rows, depth=1) == 7 + 2 * 160 * 10 + 4 * 4 * 100
