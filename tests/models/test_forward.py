"""Shortened forward passes against Hugging Face's full ones."""

from pathlib import Path

import pytest
import torch

from selectmm.models import llava, qwen2_vl
from selectmm.models.encode import Batch, encode
from selectmm.models.forward import answer_loss, hidden_after, inputs_of
from selectmm.models.vlm import VLM
from tests.models.test_encode import CONVERSATIONS
from tests.tiny import tiny_llava, tiny_qwen2_vl


@pytest.fixture(scope="module", params=["llava", "qwen"])
def vlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> VLM:
    folder: Path = tmp_path_factory.mktemp(request.param)
    if request.param == "llava":
        return llava.load(str(tiny_llava(folder)), "chatml", device="cpu")
    return qwen2_vl.load(str(tiny_qwen2_vl(folder)), device="cpu")


@pytest.fixture(params=["left", "right"])
def batch(vlm: VLM, request: pytest.FixtureRequest) -> Batch:
    return encode(vlm, CONVERSATIONS, side=request.param, limit=None)


def test_hidden_states_are_those_of_the_full_pass(vlm: VLM, batch: Batch) -> None:
    with torch.no_grad():
        full = vlm.model(**inputs_of(batch), output_hidden_states=True).hidden_states
        hidden = hidden_after(vlm, batch, [1, 2])
        final = vlm.model.model.language_model.norm(hidden[2])  # Hugging Face reports the last layer normed
    torch.testing.assert_close(hidden[1], full[1])
    torch.testing.assert_close(final, full[2])


def test_layers_beyond_the_deepest_do_not_run(vlm: VLM, batch: Batch) -> None:
    ran = []
    handle = vlm.layer(2).register_forward_hook(lambda *_: ran.append(2))
    with torch.no_grad():
        assert hidden_after(vlm, batch, [1]).keys() == {1}
    handle.remove()
    assert not ran


def test_the_answer_loss_is_hugging_faces(vlm: VLM, batch: Batch) -> None:
    with torch.no_grad():
        torch.testing.assert_close(answer_loss(vlm.model, batch), vlm.model(**batch).loss)


def test_a_batch_without_answers_has_no_loss_and_no_gradient(vlm: VLM, batch: Batch) -> None:
    weight = vlm.model.lm_head.weight
    weight.requires_grad_(True)
    try:
        loss = answer_loss(vlm.model, batch | {"labels": torch.full_like(batch["labels"], -100)})
        loss.backward()
        assert loss == 0 and not weight.grad.any()
    finally:
        weight.requires_grad_(False)
        weight.grad = None
