"""What only Qwen3-VL does: features of a second depth of the vision tower enter behind decoder layer 1 (DeepStack)."""

from pathlib import Path

import pytest
import torch

from selectmm.models.encode import Conversation, encode
from selectmm.models.forward import Reads, run
from selectmm.models.inputs import inputs_of
from selectmm.models.vlm import VLM
from tests.families import FAMILIES
from tests.models.test_encode import CONVERSATIONS, IMAGE, TURNS


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return FAMILIES["qwen3_vl"].load(tmp_path_factory.mktemp("qwen3_vl"))


@torch.no_grad()
def test_a_layers_state_is_its_own_output_and_what_is_added_behind_it_reaches_the_next_layer(vlm: VLM) -> None:
    batch = encode(vlm, CONVERSATIONS, side="right", limit=None)
    entered = []
    second = vlm.layer(2).register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
    hidden = run(vlm, batch, Reads(layers=frozenset({1, 2}))).hidden
    second.remove()
    features = vlm.model.get_image_features(batch["pixel_values"], batch["image_grid_thw"]).deepstack_features[0]
    shown = batch["input_ids"] == vlm.image_token_id
    added = entered[0] - hidden[1]
    torch.testing.assert_close(added[shown], torch.cat(list(features)), atol=1e-5, rtol=1e-5)
    assert added[shown].abs().max() > 1e-3
    assert not added[~shown].any()


@torch.no_grad()
def test_stopping_early_changes_no_state(vlm: VLM) -> None:
    batch = encode(vlm, CONVERSATIONS, side="right", limit=None)
    early = run(vlm, batch, Reads(layers=frozenset({1}))).hidden[1]
    whole = run(vlm, batch, Reads(layers=frozenset({1, 2}), answers=True)).hidden[1]
    torch.testing.assert_close(early, whole)


@torch.no_grad()
def test_a_text_only_batch_after_one_with_images_is_not_touched_by_them(vlm: VLM, tmp_path: Path) -> None:
    """The model keeps the position offsets of its last images; a text-only pass must not use them."""
    text = encode(vlm, [Conversation(TURNS)], side="right", limit=None)
    fresh = FAMILIES["qwen3_vl"].load(tmp_path)
    expected = fresh.model(**inputs_of(text)).logits
    vlm.model(**inputs_of(encode(vlm, [Conversation(TURNS, (IMAGE,))], side="right", limit=None)))
    torch.testing.assert_close(vlm.model(**inputs_of(text)).logits, expected)
