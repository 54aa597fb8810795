"""XMAS' number for a row against numpy, one row at a time."""

import numpy as np
import pytest
import torch

from selectmm.features.coupling import ImageCoupling, _attention
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, Row, seen

TEXT_ONLY = 1


@torch.no_grad()
@pytest.mark.parametrize("values", [1, 5])
def test_it_is_the_sum_of_the_largest_singular_values_one_row_at_a_time(vlm: VLM, values: int) -> None:
    expected = []
    for talk in TALKS:
        row, found = Row.of(vlm, talk), []
        layers = vlm.model.model.language_model.layers
        parts = [part for layer in layers for part in (layer.self_attn.q_proj, layer.self_attn.k_proj)]
        hooks = [part.register_forward_hook(lambda *made, found=found: found.append(made[2][0])) for part in parts]
        vlm.model(**row.inputs)
        for hook in hooks:
            hook.remove()
        image = (row.ids == vlm.image_token_id).numpy()
        if not image.any():
            expected.append(0.0)
            continue
        words = np.arange(len(image)) > np.flatnonzero(image)[-1]
        total = 0.0
        for layer in range(2):
            queries, keys = (one.double().numpy() for one in found[2 * layer : 2 * layer + 2])
            scores = queries @ keys.T / np.sqrt(queries.shape[1])
            chance = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
            total = total + chance[words][:, image]
        expected.append(np.linalg.svd(total, compute_uv=False)[:values].sum())
    feature = ImageCoupling(values)
    made = feature.compute(seen(vlm, feature, limit=512)).numpy()
    assert made == pytest.approx(np.array(expected), rel=1e-5) and made[TEXT_ONLY] == 0 and made[0] > 0.1


def test_keys_are_repeated_for_their_group_of_heads() -> None:
    """Two heads of two channels share one key head: the key (3, 5) counts as (3, 5, 3, 5)."""
    queries, keys = torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([[3.0, 5], [0, 1]])
    whole = torch.tensor([[3.0, 5, 3, 5], [0, 1, 0, 1]])
    torch.testing.assert_close(_attention(queries, keys, 2), (queries @ whole.T / 2).softmax(-1).double())
