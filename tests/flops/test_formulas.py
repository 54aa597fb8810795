"""The formulas against PyTorch's own FLOP counter, on a tiny model of every family."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from selectmm.features import loaded
from selectmm.features.feature import Seen
from selectmm.features.gradients import Scope, row_gradients
from selectmm.flops import formulas
from selectmm.flops.anatomy import Anatomy, Layer, anatomy_of
from selectmm.flops.formulas import Load
from selectmm.models.encode import Batch, Conversation, encode
from selectmm.models.forward import Reads, run
from selectmm.models.losses import answer_logits, answer_loss
from selectmm.models.vlm import VLM
from selectmm.planning.load import load_of
from selectmm.pool.clip import open_clip
from selectmm.pool.sample import Turn
from selectmm.tuning.adapter import injected, lora_config, trainable
from selectmm.tuning.fit import _checkpointing, _ready
from selectmm.tuning.recipe import Recipe
from selectmm.tuning.targets import lora_pattern
from tests.clips import write_clip
from tests.families import BODIES, FAMILIES
from tests.tuning.conftest import RECIPE

TALK = Conversation(
    (Turn("user", "What colour is the shape?"), Turn("assistant", "The shape is a square.")),
    (Image.new("RGB", (200, 120), (90, 120, 30)),),
)
TEXT = Conversation(TALK.turns)
TOWERS = [name for name in BODIES if name not in ("llava_phi2", "llava_qwen25")]  # these two have llava_chatml's


@pytest.fixture(scope="module", params=BODIES)
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
        assert formulas.forward(body, load(vlm, talk)) == real


@pytest.mark.parametrize("vlm", TOWERS, indirect=True)
def test_forward_of_a_clip_beside_an_image(vlm: VLM, tmp_path: Path) -> None:
    if vlm.family.template.video is None:  # as images
        template = replace(vlm.family.template, video=2 * vlm.family.template.image)
        vlm = replace(vlm, family=replace(vlm.family, template=template, frames=2))
    clip = open_clip(tmp_path, write_clip(tmp_path / "1.mp4", frames=8).name)
    talk = Conversation(TALK.turns, (*TALK.images, clip))
    with torch.no_grad():
        real = counted(lambda: answer_logits(vlm.model, encoded(vlm, talk)))
    assert formulas.forward(anatomy_of(vlm), load(vlm, talk)) == real
    assert load(vlm, talk).image_tokens > load(vlm, TALK).image_tokens


def test_forward_up_to_a_layer(vlm: VLM) -> None:
    body = anatomy_of(vlm)
    with torch.no_grad():
        real = counted(lambda: run(vlm, encoded(vlm, TALK), Reads(layers=frozenset({1}))))
    assert formulas.forward(body, load(vlm, TALK), depth=1) == real


def test_weights_that_are_elsewhere_count(vlm: VLM) -> None:
    """As under ZeRO-3, which leaves a device empty weights; of 4-bit ones there are half as many numbers, of 8 bits."""
    recipe = replace(RECIPE, vision_lr=1e-3)
    there = replace(vlm, model=deepcopy(vlm.model))
    expected = formulas.training(anatomy_of(vlm, lora_pattern(vlm, recipe)), load(vlm, TALK), recipe)
    load(there, TALK)  # before training, see `Work`
    for module in there.model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
            module.weight.data = torch.empty(0)
    assert formulas.training(anatomy_of(there, lora_pattern(there, recipe)), load(there, TALK), recipe) == expected


RECIPES = {
    "lora": {},
    "checkpointing": {"gradient_checkpointing": True},
    "frozen projector": {"projector_lr": 0.0},  # spares the gradient of what enters the first layer
    "attention alone": {"lora_layers": "attention"},
    "projector by LoRA": {"projector": "lora"},
    "full": {"tune": "full"},
    "full, checkpointing": {"tune": "full", "gradient_checkpointing": True},
    "full, frozen projector": {"tune": "full", "projector_lr": 0.0},
}
# On every body: each kind of tuning, projector and layers once, and what is computed again or spared beside them.
COVERING = {
    "frozen projector": RECIPES["frozen projector"],
    "all options": {"gradient_checkpointing": True, "lora_layers": "attention", "projector": "lora"},
    "full, checkpointing": RECIPES["full, checkpointing"],
}


@pytest.mark.parametrize("options", COVERING.values(), ids=COVERING)
def test_a_training_step(vlm: VLM, options: dict[str, object]) -> None:
    holds_for_a_step(vlm, options)


@pytest.mark.parametrize("vlm", BODIES[:1], indirect=True)
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_step_with_each_option(vlm: VLM, name: str) -> None:
    holds_for_a_step(vlm, RECIPES[name])


def holds_for_a_step(vlm: VLM, options: dict[str, object]) -> None:
    recipe = replace(RECIPE, dropout=0.0, **options)
    body = anatomy_of(vlm, lora_pattern(vlm, recipe))
    assert formulas.training(body, load(vlm, TALK), recipe) == stepped(vlm, recipe)


def towers_share(vlm: VLM, checkpointing: bool) -> tuple[float, float]:
    """What LoRA in the tower adds to a step: planned, and counted."""
    recipe = replace(RECIPE, dropout=0.0, vision_lr=1e-3, gradient_checkpointing=checkpointing)
    seen, body = load(vlm, TALK), anatomy_of(vlm, lora_pattern(vlm, recipe))
    without = formulas.training(anatomy_of(vlm), seen, replace(recipe, vision_lr=0.0))
    return formulas.training(body, seen, recipe) - without, stepped(vlm, recipe) - without


@pytest.mark.parametrize("vlm", TOWERS, indirect=True)
def test_lora_in_the_tower_costs_at_most_what_is_planned(vlm: VLM) -> None:
    planned, real = towers_share(vlm, checkpointing=False)
    assert real <= planned


@pytest.mark.parametrize("vlm", ["qwen2_5_vl"], indirect=True)  # and LLaVA's tower: the test below
def test_with_checkpointing_too(vlm: VLM) -> None:
    planned, real = towers_share(vlm, checkpointing=True)
    assert real <= planned


def test_lora_in_a_deep_tower_costs_about_what_is_planned(tmp_path: Path) -> None:
    shallow = FAMILIES["llava_vicuna"].load(tmp_path / "llava")
    config = deepcopy(shallow.model.config)
    config.vision_config.num_hidden_layers = 24  # as LLaVA-1.5's; its ends weigh little
    deep = replace(shallow, model=type(shallow.model)._from_config(config, attn_implementation="eager"))
    planned, real = towers_share(deep, checkpointing=True)
    assert real <= planned <= 1.15 * real


def stepped(vlm: VLM, recipe: Recipe) -> int:
    """FLOPs of one forward and backward pass of training, counted."""
    batch = encoded(vlm, TALK)
    with trainable(vlm, recipe, keep=True) as wrapped, _checkpointing(wrapped, recipe):
        _ready(wrapped, recipe)
        return counted(lambda: answer_loss(wrapped.get_base_model(), batch).backward())


def test_gradients_of_every_row(vlm: VLM) -> None:
    planned, real = rows_gradients(vlm, "all_linear")
    assert planned == real


@pytest.mark.parametrize("vlm", ["llava_chatml", "llava_phi2", "qwen3_vl"], indirect=True)
def test_gradients_of_every_row_in_the_attention(vlm: VLM) -> None:
    planned, real = rows_gradients(vlm, "self_attn")
    if vlm.model.config.text_config.model_type == "phi":
        assert real < planned < 1.1 * real, "the MLP beside the first attention is not on the way: README.md"
    else:
        assert planned == real


def rows_gradients(vlm: VLM, scope: Scope) -> tuple[float, float]:
    """FLOPs of two rows' gradients: planned, and counted."""
    body = anatomy_of(vlm)
    with injected(vlm, lora_config(vlm, RECIPE)) as wrapped:
        wrapped.eval().requires_grad_(False)
        seen = Seen(vlm, loaded.encoded(vlm, [0, 1], [TALK, TALK], pictures=False), Reads(), 10**6)
        real = counted(lambda: row_gradients(seen, scope, lambda name, gradient: None))
    return formulas.row_gradients(body, load(vlm, TALK, TALK), RECIPE.rank, scope == "all_linear"), real


def test_a_layer_by_hand() -> None:
    # Width 4, MLP 8, queries 4: 4 · 16 weights of attention and 3 · 32 of the MLP; 10 tokens, 3 of them answers.
    layer = Layer(160, 160, 48, 4, 4, 8, 4 * 8 + 3 * 12, 4 * 8, 4 * 4 + 2 * 4 + 8, 12, 4, 32)
    body = Anatomy(1000, 900, 4, 5, (layer, layer), 0, 0, 0)
    rows = Load(1, 10, 100, 0, 3, 7, 10)
    assert formulas.forward(body, rows) == 7 + 2 * (2 * 160 * 10 + 4 * 4 * 100) + 2 * 20 * 3
    assert formulas.forward(body, rows, depth=1) == 7 + 2 * 160 * 10 + 4 * 4 * 100
