"""Adam's step on every row of a batch against autograd and the formula, one row at a time."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from selectmm.errors import UserError
from selectmm.features.adam import AdamGradient, adam_step
from selectmm.features.gradients import ProjectedGradient, lora_linears, sketch
from selectmm.models.vlm import VLM
from tests.features.material import TALKS, UNANSWERED, seen
from tests.features.test_gradients import ANSWERED, anywhere, carried, in_self_attention, one_by_one  # noqa: F401

SCOPES = pytest.mark.parametrize(
    ("scope", "wanted"), [("self_attn", in_self_attention), ("all_linear", anywhere)], ids=["self_attn", "all_linear"]
)


@pytest.fixture
def trained(carried: VLM, tmp_path: Path) -> Iterator[VLM]:  # noqa: F811
    """The model with LoRA, and moments as of a training: as large as gradients are."""
    torch.manual_seed(2)
    flat = {}
    for name, linear in lora_linears(carried, "all_linear").items():
        flat[f"{name}.exp_avg"] = 1e-3 * torch.randn_like(linear.weight)
        flat[f"{name}.exp_avg_sq"] = 1e-6 * torch.rand_like(linear.weight)
    save_file(flat, tmp_path / "moments.safetensors")
    yield replace(carried, adapter=tmp_path)


def test_a_step_by_hand() -> None:
    """g = 2, m = 1, v = 3: m' = 0.9 + 0.2 = 1.1, v' = 2.997 + 0.004 = 3.001; of zeros, ε is inside the root."""
    made = adam_step(torch.tensor([[[2.0, 0.0, 1e-3]]]), torch.tensor([[1.0, 0, 0]]), torch.tensor([[3.0, 0, 0]]))
    expected = [1.1 / (3.001 + 1e-8) ** 0.5, 0.0, 1e-4 / (1e-9 + 1e-8) ** 0.5]
    assert made.flatten().tolist() == pytest.approx(expected, rel=1e-6)


@SCOPES
def test_steps_are_those_of_the_formula_one_row_at_a_time(trained: VLM, scope: str, wanted: object) -> None:
    from safetensors.torch import load_file

    moments = load_file(trained.adapter / "moments.safetensors")
    feature = AdamGradient(64, scope=scope)
    found = feature.compute(seen(trained, feature))
    for row in ANSWERED:
        square, projected = 0.0, torch.zeros(64, dtype=torch.float64)
        for name, gradient in one_by_one(trained, TALKS[row], wanted).items():
            first, second = (moments[f"{name}.{kind}"].double() for kind in ("exp_avg", "exp_avg_sq"))
            g = gradient.double()
            step = (0.9 * first + 0.1 * g) / (0.999 * second + 0.001 * g**2 + 1e-8).sqrt()
            square += float(step.square().sum())
            projected += sketch(step[None].float(), 64, f"0/{name}")[0].double()
        assert found[row, 0].item() == pytest.approx(square**0.5, rel=1e-4)
        torch.testing.assert_close(found[row, 1:].double(), projected, atol=1e-4 * square**0.5, rtol=1e-3)
    assert not found[UNANSWERED].any(), "a row without an answer has no direction of its own"


def test_its_signs_are_those_of_the_plain_gradient(trained: VLM) -> None:
    """With no first moment and a large second one, the same everywhere, the step is g scaled: both are parallel."""
    names = lora_linears(trained, "self_attn")
    flat = {f"{n}.exp_avg": torch.zeros_like(one.weight) for n, one in names.items()}
    flat |= {f"{n}.exp_avg_sq": torch.full_like(one.weight, 1e4) for n, one in names.items()}
    folder = trained.adapter / "flat"
    folder.mkdir()
    save_file(flat, folder / "moments.safetensors")
    adam, plain = AdamGradient(64, scope="self_attn"), ProjectedGradient(64)
    steps = adam.compute(seen(replace(trained, adapter=folder), adam))
    gradients = plain.compute(seen(trained, plain))
    cosines = torch.nn.functional.cosine_similarity(steps[ANSWERED, 1:], gradients[ANSWERED, 1:])
    assert (cosines > 0.9999).all()


def test_without_moments_it_is_refused_in_one_sentence(carried: VLM) -> None:  # noqa: F811
    with pytest.raises(UserError, match="There are no moments of Adam in"):
        AdamGradient().compute(seen(carried, AdamGradient()))
    with pytest.raises(UserError, match="Adam's step needs a warm-up that keeps moments; the method has to ask"):
        AdamGradient().compute(seen(replace(carried, adapter=None), AdamGradient()))
