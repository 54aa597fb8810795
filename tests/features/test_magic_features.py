"""Attention to the image and the most active neurons: a batch of unlike rows against one row at a time."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from selectmm.features.looking import AnswerLook
from selectmm.features.neurons import TopNeurons
from selectmm.models.encode import IGNORED
from selectmm.models.forward import EVERY_LAYER, Reads
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, UNANSWERED, Row, seen

TEXT_ONLY = 1


@pytest.fixture
def eager(vlm: VLM) -> Iterator[VLM]:
    """The model with attention that Hugging Face hands out, and sharp: a tiny random model looks at all alike."""
    before = vlm.model.config._attn_implementation
    vlm.model.set_attn_implementation("eager")
    queries = [layer.self_attn.q_proj.weight for layer in vlm.model.model.language_model.layers]
    for weight in queries:
        weight.data *= 1024  # a power of two is taken back to the bit
    yield vlm
    for weight in queries:
        weight.data /= 1024
    vlm.model.set_attn_implementation(before)


@torch.no_grad()
def test_the_look_is_mass_times_pointedness_over_layers_and_answer_tokens(eager: VLM) -> None:
    expected = []
    for talk in TALKS:
        row = Row.of(eager, talk)
        image = (row.ids == eager.image_token_id).numpy()
        answer = (row.labels != IGNORED).nonzero().flatten().tolist()
        looks = []
        for attention in eager.model(**row.inputs, output_attentions=True).attentions if image.any() else ():
            mean = attention[0].double().mean(0).numpy()
            for token in answer:
                to_image = mean[token][image]
                share = to_image / to_image.sum()
                looks.append(to_image.sum() * (1 + (share * np.log(share)).sum() / np.log(image.sum())))
        expected.append(np.mean(looks) if looks else 0.0)
    eager.model.set_attn_implementation("sdpa")
    found = AnswerLook().compute(seen(eager, AnswerLook())).numpy()
    assert np.delete(found, UNANSWERED) == pytest.approx(np.delete(expected, UNANSWERED), abs=1e-5)
    assert found[UNANSWERED] == found[TEXT_ONLY] == 0 and expected[0] > 0.01


def test_every_layer_is_every_layer() -> None:
    for depth in (1, 2, 24, 28, 32, 80):
        assert Reads(attention=EVERY_LAYER).on(depth).attention == set(range(1, depth + 1))


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gated", "gate"])
def test_neurons_are_those_most_active_over_the_answer(vlm: VLM, activation: str) -> None:
    expected = []
    for talk in TALKS:
        row, found = Row.of(vlm, talk), []
        layers = vlm.model.model.language_model.layers
        parts = [part for layer in layers for part in (layer.mlp.act_fn, layer.mlp.up_proj)]
        hooks = [part.register_forward_hook(lambda *made, found=found: found.append(made[2][0])) for part in parts]
        vlm.model(**row.inputs)
        for hook in hooks:
            hook.remove()
        gates, ups = found[::2], found[1::2]  # of each of two layers
        products = [gate * up if activation == "gated" else gate for gate, up in zip(gates, ups, strict=True)]
        answer = row.labels != IGNORED
        means = [product[answer].double().mean(0).numpy() for product in products]
        expected.append(sorted(np.argsort(-means[0])[:1]) + sorted(np.argsort(-means[1])[:3]))
    feature = TopNeurons((1, 2), (1, 3), None, activation)
    made = feature.compute(seen(vlm, feature))
    assert made.dtype == torch.int32 and made[UNANSWERED].tolist() == [-1] * 4
    assert np.delete(made.numpy(), UNANSWERED, 0).tolist() == np.delete(expected, UNANSWERED, 0).tolist()


def test_layers_at_the_same_share_of_another_depth(vlm: VLM) -> None:
    published, twice = TopNeurons((8, 12, 16, 20), (1, 1, 2, 3), 32), TopNeurons((1, 1, 1, 1), (1, 1, 2, 3), None)
    with torch.no_grad():
        both = seen(vlm, published, twice)
        assert torch.equal(published.compute(both), twice.compute(both)), "8 to 20 of 32 are all layer 1 of two"
