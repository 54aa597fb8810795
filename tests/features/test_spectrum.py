"""Spectra and last states: a batch of unlike rows against one row at a time, with NumPy's own singular values."""

import numpy as np
import torch

from selectmm.features.spectrum import LastState, StateSpectrum, _spectrum
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, Row, limit_of, seen


@torch.no_grad()
def test_spectrum_and_last_state_are_of_the_states_before_the_final_norm(vlm: VLM) -> None:
    spectra, states = [], []
    for talk in TALKS:
        found: list[torch.Tensor] = []
        norm = vlm.model.model.language_model.norm
        hook = norm.register_forward_pre_hook(lambda _module, inputs, found=found: found.append(inputs[0]))
        vlm.model(**Row.of(vlm, talk).inputs)
        hook.remove()
        hidden = found[0][0, : limit_of(vlm)].double().numpy()
        values = np.linalg.svd(hidden, compute_uv=False)
        shares = values / values.sum()
        spectra.append([-np.sum(shares * np.log(shares)), shares.max()])
        states.append(hidden[-1])
    both = seen(vlm, StateSpectrum(), LastState())
    np.testing.assert_allclose(StateSpectrum().compute(both), spectra, rtol=1e-5)
    np.testing.assert_allclose(LastState().compute(both), states, atol=1e-5)


def test_more_tokens_than_channels_and_states_of_zero() -> None:
    states = torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(
        _spectrum(states), [-(3 / 7) * np.log(3 / 7) - (4 / 7) * np.log(4 / 7), 4 / 7], rtol=1e-6
    )
    assert _spectrum(torch.zeros(3, 2)).tolist() == [0, 0]
