"""Packed conversations against the same conversations in rows of their own."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import BloomConfig

from selectmm.errors import UserError
from selectmm.models.encode import IGNORED, Batch, Conversation, cut, encode
from selectmm.models.losses import answer_logits, answer_loss
from selectmm.models.pack import check_packable, fits_varlen, pack, varlen
from selectmm.models.vlm import VLM
from selectmm.pool.sample import Turn
from tests.families import BODIES, LLAVA, Tiny
from tests.models.test_encode import IMAGE, TURNS
from tests.tiny import tiny_llava

OTHER = Image.radial_gradient("L").resize((112, 84)).convert("RGB")  # of another size, so that a swap would be noticed
CONVERSATIONS = [Conversation(TURNS, (IMAGE,)), Conversation(TURNS[:2]), Conversation(TURNS[2:], (OTHER,))]


@pytest.fixture(scope="module", params=BODIES)
def vlm(request: pytest.FixtureRequest, loaded: Callable[[str], VLM]) -> VLM:
    return loaded(request.param)


def rows_of(vlm: VLM, side: str = "right") -> Batch:
    return encode(vlm, CONVERSATIONS, side=side, limit=None)


def gradients(vlm: VLM, batch: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a batch, and its gradient by every weight that has one (vision tower included)."""
    for weight in vlm.model.parameters():
        weight.requires_grad_(True)
    loss = answer_loss(vlm.model, batch)
    loss.backward()
    found = {name: weight.grad for name, weight in vlm.model.named_parameters() if weight.grad is not None}
    vlm.model.zero_grad(set_to_none=True)
    vlm.model.requires_grad_(False)
    return float(loss.detach()), found


@pytest.mark.parametrize("side", ["left", "right"])
def test_loss_and_gradients_are_those_of_the_rows(vlm: VLM, side: str) -> None:
    loss, expected = gradients(vlm, rows_of(vlm, side))
    packed, found = gradients(vlm, pack(vlm, rows_of(vlm, side)))
    assert packed == pytest.approx(loss, rel=1e-6)
    assert found.keys() == expected.keys() and len(found) > 30
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6 * largest, msg=name)


def test_every_answer_gets_the_logits_of_its_conversation_alone(vlm: VLM) -> None:
    with torch.no_grad():
        packed = answer_logits(vlm.model, pack(vlm, rows_of(vlm)))[0]
        alone = [answer_logits(vlm.model, encode(vlm, [c], side="right", limit=None))[0] for c in CONVERSATIONS]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-4, atol=1e-6)


def test_a_plain_causal_mask_would_be_noticed(vlm: VLM) -> None:
    batch = pack(vlm, rows_of(vlm))
    with torch.no_grad():
        apart = answer_logits(vlm.model, batch)[0]
        crossing = answer_logits(vlm.model, {k: v for k, v in batch.items() if k != "position_ids"})[0]
    assert (apart - crossing).abs().max() > 1e-2


def test_cut_conversations_are_packed_as_they_were_cut(vlm: VLM) -> None:
    limit = int(rows_of(vlm)["attention_mask"].sum(1).max()) - 2
    short = cut(rows_of(vlm), limit, vlm)
    packed = pack(vlm, short)
    assert packed["input_ids"].shape == (1, int(short["attention_mask"].sum()))
    with torch.no_grad():
        assert float(answer_loss(vlm.model, packed)) == pytest.approx(float(answer_loss(vlm.model, short)), rel=1e-5)


def test_the_pack_is_the_conversations_one_behind_the_other(vlm: VLM) -> None:
    talks = [Conversation((Turn("user", "yes"), Turn("assistant", word))) for word in ("no", "It is a circle.")]
    batch = encode(vlm, talks, side="right", limit=None)
    first, second = batch["attention_mask"].sum(1).tolist()
    packed = pack(vlm, batch)
    assert "attention_mask" not in packed
    assert packed["input_ids"][0].tolist() == [*batch["input_ids"][0, :first], *batch["input_ids"][1, :second]]
    axes = packed["position_ids"].reshape(-1, first + second)
    assert (axes == torch.tensor([*range(first), *range(second)])).all()  # text moves on all axes alike
    batch["labels"][:, 0] = 7  # no row of its own predicts its first token, and in a pack the row before must not
    assert (pack(vlm, batch)["labels"][0, [0, first]] == IGNORED).all()


def test_every_family_may_be_packed(vlm: VLM) -> None:
    check_packable(vlm)


def test_a_language_model_in_which_packs_would_mix_is_refused(tmp_path: Path) -> None:
    """BLOOM has no position ids to read boundaries from."""
    bloom = Tiny(partial(tiny_llava, body=BloomConfig), {"_target_": LLAVA, "template": "chatml"}).load(tmp_path)
    with pytest.raises(UserError, match=r"in its language model \(bloom\) packed conversations see each other; set"):
        check_packable(bloom)


def test_packs_attend_by_flash_attention_where_it_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, bits = torch.device("cuda"), "bf16-mixed"
    assert not fits_varlen(gpu, bits, "sdpa")  # its package is not installed here
    monkeypatch.setattr("selectmm.models.pack.is_flash_attn_2_available", lambda: True)
    assert fits_varlen(gpu, bits, "sdpa")
    assert not any(
        fits_varlen(*given)
        for given in ((torch.device("cpu"), bits, "sdpa"), (gpu, "32-true", "sdpa"), (gpu, bits, "eager"))
    )


def test_the_models_own_kernel_comes_back_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    set_to = []
    body = SimpleNamespace(_attn_implementation="sdpa")
    model = SimpleNamespace(
        device=torch.device("cuda"),
        config=SimpleNamespace(get_text_config=lambda: body),
        set_attn_implementation=set_to.append,
    )
    monkeypatch.setattr("selectmm.models.pack.is_flash_attn_2_available", lambda: True)
    with pytest.raises(KeyboardInterrupt), varlen(model, "bf16-true"):
        raise KeyboardInterrupt
    with varlen(model, "32-true"):
        pass
    assert set_to == [{"text_config": "flash_attention_2"}, {"text_config": "sdpa"}]
