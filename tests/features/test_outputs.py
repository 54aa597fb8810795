"""What attention adds at some layers: a batch of unlike rows against one row at a time, through hooks of our own."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from selectmm.errors import UserError
from selectmm.features.outputs import AttentionOutputs
from selectmm.models.forward import Reads, layer_at
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from tests.features.material import TALKS, Row, limit_of, seen, store_of


def unit(vector: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vector)
    return vector / length if length else vector


@torch.no_grad()
def by_hand(vlm: VLM, row: Row, limit: int) -> np.ndarray:
    """COINCIDE's vector of one row from the outputs of both layers, token by token."""
    found: list[np.ndarray] = []
    layers = vlm.model.model.language_model.layers
    hooks = [layer.self_attn.o_proj.register_forward_hook(lambda *made: found.append(made[2][0])) for layer in layers]
    vlm.model(**row.inputs)
    for hook in hooks:
        hook.remove()
    ids = row.ids[:limit].tolist()
    image = [place for place, token in enumerate(ids) if token == vlm.image_token_id]
    text = range(image[-1] + 1 if image else 0, len(ids))
    halves = []
    for places in (image, text):
        for outputs in found:
            mean = sum((outputs[place].double().numpy() for place in places), np.zeros(48)) / max(len(places), 1)
            halves.append(unit(np.tanh(mean)))
    return unit(np.concatenate(halves))


@torch.no_grad()
def test_a_row_is_tanh_and_norm_of_the_means_over_image_and_what_follows(vlm: VLM) -> None:
    feature = AttentionOutputs((1, 2), None)
    found = feature.compute(seen(vlm, feature)).numpy()
    expected = [by_hand(vlm, Row.of(vlm, talk), limit_of(vlm)) for talk in TALKS]
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert not found[1, : 2 * 48].any() and found[1].any(), "a row without image has no visual half"


def test_layers_of_another_depth_are_read_at_the_same_share_each_once(vlm: VLM) -> None:
    published = AttentionOutputs((4, 8, 12, 16, 20), 24)
    with torch.no_grad():
        assert published.compute(seen(vlm, published)).shape == (len(TALKS), 2 * 2 * 48), "layers 1 and 2 of two"
    assert [layer_at(Fraction(layer, 24), 32) for layer in published.layers] == [5, 11, 16, 21, 27]
    assert [layer_at(Fraction(layer, 24), 24) for layer in published.layers] == [4, 8, 12, 16, 20]
    assert layer_at(Fraction(1, 24), 4) == 1
    reads = (published.reads() | Reads(layers=frozenset({3}))).on(24)
    assert (reads.deepest, reads.nothing, published.reads().named) == (20, False, frozenset())


def test_a_layer_that_the_model_lacks_is_told_before_anything_is_computed(vlm: VLM, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Layer 4 was asked for, but this \w+ model has decoder layers 1 to 2"):
        store_of(vlm, tmp_path).check(pool, [AttentionOutputs((1, 4), None)])
