"""The formulas against PyTorch's own FLOP counter, on a tiny model of every family."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from selectmm.features.feature import Seen
from selectmm.features.gradients import Scope, row_gradients
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.forward import Reads, answer_loss, answer_logits, run
from selectmm.models.vlm import VLM
from selectmm.planning import flops
from selectmm.planning.anatomy import Anatomy, anatomy_of
from selectmm.planning.flops import Load
from selectmm.planning.load import load_of
from selectmm.pool.sample import Turn
from selectmm.tuning.adapter import injected, lora_config
from selectmm.tuning.fit import _checkpointing, _ready
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
    from dataclasses import replace

    recipe = replace(RECIPE, gradient_checkpointing=checkpointing, dropout=0.0)
    body = anatomy_of(vlm)
    batch = encoded(vlm, TALK)
    with injected(vlm, lora_config(vlm, recipe)) as wrapped, _checkpointing(wrapped, recipe):
        _ready(wrapped, recipe)
        real = counted(lambda: answer_loss(wrapped.get_base_model(), batch).backward())
    assert flops.training(body, load(vlm, TALK), recipe.rank, True, checkpointing) == real
