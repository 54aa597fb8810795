"""Shortened forward passes against Hugging Face's full ones."""

import re
import sys
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from selectmm.models.encode import Batch, encode
from selectmm.models.forward import LAST, Reads, run
from selectmm.models.inputs import inputs_of
from selectmm.models.losses import answer_logits, answer_loss
from selectmm.models.vlm import VLM
from tests.families import BODIES
from tests.models.test_encode import CONVERSATIONS


@pytest.fixture(scope="module", params=BODIES)
def vlm(request: pytest.FixtureRequest, loaded: Callable[[str], VLM]) -> VLM:
    return loaded(request.param)


@pytest.fixture(params=["left", "right"])
def batch(vlm: VLM, request: pytest.FixtureRequest) -> Batch:
    return encode(vlm, CONVERSATIONS, side=request.param, limit=None)


def reads(*layers: int, attention: tuple[int, ...] = (), answers: bool = False) -> Reads:
    return Reads(frozenset(layers), frozenset(attention), answers)


def test_hidden_states_are_those_of_the_full_pass(vlm: VLM, batch: Batch) -> None:
    with torch.no_grad():
        full = vlm.model(**inputs_of(batch), output_hidden_states=True).hidden_states
        hidden = run(vlm, batch, reads(0, 1, 2, LAST)).hidden
        body = vlm.model.model.language_model
        norm = body.final_layernorm if hasattr(body, "final_layernorm") else body.norm  # Phi's name, everybody's
        final = norm(hidden[2])  # Hugging Face reports the last layer normed
    real = batch["attention_mask"].bool()  # what stands in the padding, nobody reads
    torch.testing.assert_close(hidden[0], full[0])
    torch.testing.assert_close(hidden[1][real], full[1][real])
    torch.testing.assert_close(final[real], full[2][real])
    torch.testing.assert_close(hidden[LAST][real], full[2][real])


def test_layers_beyond_the_deepest_do_not_run(vlm: VLM, batch: Batch) -> None:
    ran = []
    handle = vlm.layer(2).register_forward_hook(lambda *_: ran.append(2))
    with torch.no_grad():
        assert run(vlm, batch, reads(1)).hidden.keys() == {1}
        assert run(vlm, batch, reads(0, attention=(1,))).heads.keys() == {1}
        assert not run(vlm, batch, Reads()).hidden
    handle.remove()
    assert not ran


def test_answers_come_with_whatever_else_is_read(vlm: VLM, batch: Batch) -> None:
    with torch.no_grad():
        passed = run(vlm, batch, reads(1, attention=(2,), answers=True))
        logits, targets, rows = answer_logits(vlm.model, batch)
    torch.testing.assert_close(passed.answers.logits, logits)
    assert torch.equal(passed.answers.targets, targets) and torch.equal(passed.answers.rows, rows)
    assert passed.hidden.keys() == {1} and passed.heads.keys() == {2}


def test_watched_heads_give_eager_attention_and_leave_no_trace(vlm: VLM, batch: Batch) -> None:
    config = vlm.layer(1).self_attn.config
    before = config._attn_implementation
    with torch.no_grad():
        plain = vlm.model(**inputs_of(batch)).logits
        heads = run(vlm, batch, reads(1, attention=(1,))).heads[1]
        assert config._attn_implementation == before
        torch.testing.assert_close(vlm.model(**inputs_of(batch)).logits, plain)
        config._attn_implementation = "eager"
        try:
            eager = vlm.model(**inputs_of(batch), output_attentions=True).attentions[0]
        finally:
            config._attn_implementation = before
    real = batch["attention_mask"].bool()
    keys = heads.keys.repeat_interleave(heads.queries.shape[1] // heads.keys.shape[1], dim=1)
    scores = heads.queries @ keys.transpose(2, 3) * heads.scale
    seen = real[:, None, None] & torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    own = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    for row in range(len(real)):
        torch.testing.assert_close(own[row][:, real[row]], eager[row][:, real[row]])


@torch.no_grad()
def test_what_is_kept_is_the_same_beside_fused_kernels(vlm: VLM, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Liger's: positions are written into queries and keys, and a gated block calls no activation of the model's."""
    reads = Reads(projections=frozenset({1, 2}), gates=frozenset({1, 2}))
    called = []
    blocks = [vlm.layer(layer).mlp for layer in (1, 2)]
    activations = [next(part for name, part in block.named_modules() if "act" in name) for block in blocks]
    hooks = [part.register_forward_hook(lambda *made: called.append(made[2])) for part in activations]
    plain = run(vlm, batch, reads)
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(plain.gates[layer], called[layer - 1]) for layer in (1, 2))
    for layer in (1, 2):
        modeling = sys.modules[type(vlm.layer(layer).self_attn).__module__]
        name = next(name for name in vars(modeling) if re.fullmatch("apply_(multimodal_)?rotary_pos_emb", name))
        if layer == 1:
            monkeypatch.setattr(modeling, name, partial(in_place, getattr(modeling, name)))
        if hasattr(blocks[layer - 1], "gate_proj"):
            monkeypatch.setattr(blocks[layer - 1], "forward", partial(fused, blocks[layer - 1]))
    beside = run(vlm, batch, reads)
    for layer in (1, 2):
        assert torch.equal(beside.gates[layer], plain.gates[layer])
        for name, values in plain.projections[layer].items():
            assert torch.equal(beside.projections[layer][name], values), name


def in_place(rotate: Callable, queries: torch.Tensor, keys: torch.Tensor, *others: object, **named: object) -> tuple:
    made = rotate(queries, keys, *others, **named)
    return queries.copy_(made[0]), keys.copy_(made[1])


def fused(mlp: nn.Module, states: torch.Tensor) -> torch.Tensor:
    return mlp.down_proj(functional.silu(mlp.gate_proj(states)) * mlp.up_proj(states))


def test_the_answer_loss_is_hugging_faces(vlm: VLM, batch: Batch) -> None:
    with torch.no_grad():
        torch.testing.assert_close(answer_loss(vlm.model, batch), vlm.model(**batch).loss)


def test_padding_on_the_right_needs_no_mask(vlm: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = encode(vlm, CONVERSATIONS, side="right", limit=None)
    assert not batch["attention_mask"].all()
    body = vlm.model.model.language_model.config
    heads, keys = body.num_attention_heads, getattr(body, "num_key_value_heads", body.num_attention_heads)
    masks, theirs = [], functional.scaled_dot_product_attention

    def attend(query: torch.Tensor, *others: torch.Tensor, **named: object) -> torch.Tensor:
        if query.shape[-2] == batch["input_ids"].shape[1]:  # the vision tower's sequences have other lengths
            masks.append(named.get("attn_mask"))
        return theirs(query, *others, **named)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attend)
    weights = list(vlm.model.model.language_model.parameters())
    for weight in weights:
        weight.requires_grad_(True)
    try:
        ours = answer_loss(vlm.model, batch)
        gradients = torch.autograd.grad(ours, weights, allow_unused=True)
        shared = heads != keys  # keys of several heads: on a CPU the mask stays, see `right_padded`
        assert len(masks) == 2 and all((mask is None) != shared for mask in masks)
        logits = vlm.model(**inputs_of(batch)).logits[:, :-1]  # with the mask
        targets = batch["labels"][:, 1:]
        loss = functional.cross_entropy(logits[targets != -100], targets[targets != -100])
        expected = torch.autograd.grad(loss, weights, allow_unused=True)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
    assert all(mask is not None for mask in masks[2:])
    torch.testing.assert_close(ours, loss, rtol=1e-6, atol=0)
    for made, wanted in zip(gradients, expected, strict=True):
        assert (made is None) == (wanted is None)
        if made is not None:
            torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-7)


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
