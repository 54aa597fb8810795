"""Per-row gradients of a batch against autograd one row at a time, and what the projection does to inner products."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch.nn.functional import cosine_similarity, cross_entropy

from selectmm.errors import UserError
from selectmm.features import gradients, onepass
from selectmm.features.gradients import (
    GradientNorm,
    ProjectedGradient,
    Scope,
    _in_dtype_of,
    _recomputed,
    lora_linears,
    row_gradients,
    sketch,
)
from selectmm.features.tokens import TokenCount
from selectmm.models.encode import Conversation
from selectmm.models.vlm import VLM
from selectmm.pool.pool import Pool
from selectmm.tuning.adapter import carry_adapter, injected, save_adapter
from tests.features.material import TALKS, UNANSWERED, Row, seen

RANK = 4
# For tests of what is done with gradients, whichever model's they are.
ONE = pytest.mark.parametrize("vlm", ["llava"], indirect=True)
ANSWERED = [row for row in range(len(TALKS)) if row != UNANSWERED]
Gradients = dict[str, torch.Tensor]


@pytest.fixture
def carried(vlm: VLM, tmp_path: Path) -> Iterator[VLM]:
    """The model with LoRA as after a training: neither factor is zero."""
    torch.manual_seed(1)
    with injected(vlm, LoraConfig(r=RANK, lora_alpha=8, target_modules=vlm.family.lora)) as wrapped:
        weights = {name: 0.2 * torch.randn_like(w) for name, w in wrapped.named_parameters() if "lora_" in name}
        save_adapter(wrapped, weights, tmp_path)
    with carry_adapter(vlm, tmp_path) as adapted:
        yield adapted


def at_once(vlm: VLM, scope: Scope, talks: list[Conversation] = TALKS) -> Gradients:
    """Every matrix's gradients [rows, out, in], from one backward pass."""
    found: Gradients = {}

    def keep(name: str, gradient: torch.Tensor) -> None:
        assert name not in found, "a matrix is handed over once"
        found[name] = gradient.clone()

    row_gradients(seen(vlm, GradientNorm(scope), talks=talks), scope, keep)
    return found


def one_by_one(vlm: VLM, talk: Conversation, wanted: Callable[[str], bool]) -> Gradients:
    """Autograd of one row's mean answer loss from full logits, for the LoRA weights whose name is wanted."""
    weights = {name: w for name, w in vlm.model.named_parameters() if "lora_" in name and wanted(name)}
    for weight in weights.values():
        weight.requires_grad_(True)
    logits, targets = Row.of(vlm, talk).logits_and_targets(vlm)
    made = torch.autograd.grad(cross_entropy(logits, targets), list(weights.values()))
    for weight in weights.values():
        weight.requires_grad_(False)
    return {name.removesuffix(".default.weight"): g for name, g in zip(weights, made, strict=True)}


def in_self_attention(name: str) -> bool:
    return ".self_attn." in name


def anywhere(_name: str) -> bool:
    return True


SCOPES = pytest.mark.parametrize(
    ("scope", "wanted", "matrices"), [("self_attn", in_self_attention, 2 * 4 * 2), ("all_linear", anywhere, 2 * 7 * 2)]
)


@SCOPES
def test_gradients_are_those_of_autograd_one_row_at_a_time(
    carried: VLM, scope: Scope, wanted: Callable[[str], bool], matrices: int
) -> None:
    made = at_once(carried, scope)
    assert len(made) == matrices, "layers × projections × the two factors"
    for row in ANSWERED:
        expected = one_by_one(carried, TALKS[row], wanted)
        assert made.keys() == expected.keys()
        for name, gradient in expected.items():
            assert gradient.abs().max() > 0, f"{name} has no gradient to compare"
            close = 1e-5 * gradient.abs().max().item()
            torch.testing.assert_close(made[name][row], gradient, atol=close, rtol=1e-4)


def test_a_row_without_an_answer_token_has_no_gradient(carried: VLM) -> None:
    assert all(not gradient[UNANSWERED].any() for gradient in at_once(carried, "all_linear").values())
    alone = at_once(carried, "all_linear", [TALKS[UNANSWERED]])
    assert all(not gradient.any() for gradient in alone.values())
    norms = GradientNorm().compute(seen(carried, GradientNorm(), talks=[TALKS[UNANSWERED]]))
    assert norms.tolist() == [0]


@SCOPES
def test_norms_are_those_of_all_matrices_together(
    carried: VLM, scope: Scope, wanted: Callable[[str], bool], matrices: int
) -> None:
    norms = GradientNorm(scope).compute(seen(carried, GradientNorm(scope)))
    projected = ProjectedGradient(64, scope=scope)
    both = projected.compute(seen(carried, projected))
    assert both.shape == (len(TALKS), 65)
    for row in ANSWERED:
        flat = torch.cat([g.flatten() for g in one_by_one(carried, TALKS[row], wanted).values()])
        assert norms[row].item() == pytest.approx(flat.double().norm().item(), rel=1e-5)
        assert both[row, 0].item() == pytest.approx(flat.double().norm().item(), rel=1e-5)
    assert not both[UNANSWERED].any() and norms[UNANSWERED] == 0


def test_what_is_let_go_and_made_again_gives_the_same_gradients(carried: VLM) -> None:
    """As on a GPU. What autograd keeps between the passes is counted, but for what layers keep of their own."""
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.nbytes)
        return tensor

    def unpack(tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        expected, whole = at_once(carried, "all_linear"), sum(kept)
        kept.clear()
        with _recomputed(carried.layers):
            again = at_once(carried, "all_linear")
    assert sum(kept) < whole / 4
    assert again.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(again[name], gradient), name
    assert all("forward" not in vars(layer) for layer in carried.layers)


@ONE
def test_the_head_takes_some_tokens_at_a_time(carried: VLM, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    hook = carried.model.lm_head.register_forward_pre_hook(lambda _head, inputs: sizes.append(len(inputs[0])))
    whole = at_once(carried, "self_attn")
    monkeypatch.setattr(gradients, "HEAD_TOKENS", 3)
    parts = at_once(carried, "self_attn")
    hook.remove()
    tokens, *pieces = sizes
    assert pieces == [3] * (tokens // 3) + [tokens % 3] * (tokens % 3 > 0)
    for name, gradient in whole.items():
        assert torch.allclose(parts[name], gradient, rtol=1e-4, atol=1e-7)


@ONE
def test_lora_has_the_models_precision_for_the_length_of_the_pass(carried: VLM) -> None:
    linears = lora_linears(carried, "all_linear")
    before = {name: linear.weight.clone() for name, linear in linears.items()}
    with _in_dtype_of(torch.bfloat16, linears.values()):
        assert {linear.weight.dtype for linear in linears.values()} == {torch.bfloat16}
        rounded = at_once(carried, "self_attn")
    assert all(torch.equal(linears[name].weight, weight) for name, weight in before.items())
    exact = at_once(carried, "self_attn")
    one, other = (torch.cat([gradient.flatten(1) for gradient in made.values()], 1) for made in (exact, rounded))
    assert (cosine_similarity(one, other)[ANSWERED] > 0.99).all(), "a row's gradient points where it did"


@ONE
def test_a_pass_on_a_gpu_computes_an_adapter_in_the_models_precision(
    carried: VLM, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Peft keeps it in float32. The model only says that it is on a GPU, and in bfloat16."""

    linears = lora_linears(carried, "all_linear").values()
    modules = {"modules": carried.model.modules, "named_modules": carried.model.named_modules}
    for device, dtype in (("cuda", torch.bfloat16), ("cpu", torch.float32)):
        there = SimpleNamespace(device=torch.device(device), dtype=torch.bfloat16, **modules)
        with onepass._adapter_in_its_models_dtype(replace(carried, model=there)):
            assert {linear.weight.dtype for linear in linears} == {dtype}
        assert {linear.weight.dtype for linear in linears} == {torch.float32}
    entered = []

    @contextmanager
    def enter(vlm: VLM) -> Iterator[None]:
        entered.append(vlm)
        yield

    monkeypatch.setattr(onepass, "_adapter_in_its_models_dtype", enter)
    (tmp_path / "length").mkdir()
    one = onepass.Pass(pool, "conversation", {TokenCount(): tmp_path / "length"}, onepass.Sizes(4, 8, limit=512))
    assert len([*one.compute(carried, one.open_shards())]) == len(entered) == 2


@ONE
def test_a_pass_without_an_adapter_casts_nothing(vlm: VLM) -> None:
    there = SimpleNamespace(modules=vlm.model.modules, device=torch.device("cuda"), dtype=torch.bfloat16)
    with onepass._adapter_in_its_models_dtype(replace(vlm, model=there)):
        assert next(vlm.model.parameters()).dtype == torch.float32


def test_nothing_is_left_behind(carried: VLM) -> None:
    at_once(carried, "all_linear")  # transformers hooks itself into the vision tower at the first pass, for good
    hooks = {module: list(module._forward_hooks) for module in carried.model.modules()}
    at_once(carried, "all_linear")
    assert all(weight.grad is None and not weight.requires_grad for weight in carried.model.parameters())
    assert {module: list(module._forward_hooks) for module in carried.model.modules()} == hooks


@ONE
def test_a_model_without_lora_is_refused_in_one_sentence(vlm: VLM) -> None:
    with pytest.raises(UserError, match=r"carries none in the scope 'self_attn'; the method has to name a warm-up"):
        GradientNorm().compute(seen(vlm, GradientNorm()))


@ONE
@pytest.mark.parametrize("dim", [9, 64, 66])  # the rank's side is projected (to 3), kept, kept with two numbers idle
def test_a_projected_gradient_is_the_sum_of_its_matrices_sketches(carried: VLM, dim: int) -> None:
    gradients = at_once(carried, "self_attn")
    for seed in (0, 1):
        feature = ProjectedGradient(dim, seed)
        expected = sum(sketch(gradient, dim, f"{seed}/{name}") for name, gradient in gradients.items())
        torch.testing.assert_close(feature.compute(seen(carried, feature))[:, 1:], expected)


@ONE
@pytest.mark.parametrize("dim", [9, 64])
def test_inner_products_of_rows_survive_on_average(carried: VLM, dim: int) -> None:
    """The mean over seeds is within five standard errors of the exact inner product, for every pair of rows."""
    gradients = at_once(carried, "self_attn")
    flat = torch.cat([gradient.flatten(1) for gradient in gradients.values()], 1).double()
    exact = (flat @ flat.T).numpy()
    drawn = []
    for seed in range(300):
        projected = sum(sketch(gradient, dim, f"{seed}/{name}") for name, gradient in gradients.items()).double()
        drawn.append((projected @ projected.T).numpy())
    error, spread = np.mean(drawn, 0) - exact, np.std(drawn, 0) / np.sqrt(len(drawn))
    assert (np.abs(error) <= 5 * spread + 1e-12).all()


def errors(pair: torch.Tensor, dim: int, seeds: int) -> np.ndarray:
    """Error of the inner product of a pair [2, out, in] under ``seeds`` projections."""
    exact = (pair[0].double() * pair[1].double()).sum()
    drawn = [sketch(pair, dim, str(seed)).double() for seed in range(seeds)]
    return np.array([(one[0] @ one[1] - exact).item() for one in drawn])


@pytest.mark.parametrize("shape", [(40, 8), (8, 40)])
def test_the_error_is_that_of_random_signs(shape: tuple[int, int]) -> None:
    """With the short side kept the error has a known variance: of s' M s with M = G H', over dim / short draws of s.

    Var(s' M s) = Σ_{i≠j} M_ij² + M_ij M_ji for independent signs s.
    """
    pair = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    long = pair if shape[0] > shape[1] else pair.transpose(1, 2)
    inner = (long[0] @ long[1].T).double().fill_diagonal_(0)
    for draws in (8, 32):
        made = errors(pair, 8 * draws, seeds=800)
        expected = float((inner.square() + inner * inner.T).sum()) / draws
        assert np.var(made) == pytest.approx(expected, rel=0.25)  # a variance from 800 draws is known to about 5 %
        assert abs(made.mean()) < 5 * np.sqrt(expected / len(made))


def test_the_error_shrinks_as_the_dimension_grows_whichever_side_is_projected() -> None:
    """Rank 32: below 32² numbers its side is projected as well."""
    pair = torch.randn(2, 64, 32, generator=torch.Generator().manual_seed(0))
    spread = [errors(pair, dim, seeds=120).std() for dim in (64, 256, 1024, 4096)]
    assert all(more > 1.5 * less for more, less in pairwise(spread)), spread


def test_at_the_authors_sizes_both_sides_are_projected() -> None:
    """Rank 128 and 8,192 numbers: 90 of 128 times 91 of the long side, which leaves two numbers idle."""
    made = sketch(torch.randn(1, 200, 128, generator=torch.Generator().manual_seed(0)), 8192, "a")
    assert made.shape == (1, 8192) and (made[0, : 90 * 91] != 0).all() and not made[0, 90 * 91 :].any()


def test_signs_follow_from_the_name_alone_and_differ_between_matrices() -> None:
    gradient = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(sketch(gradient, 64, "a"), sketch(gradient, 64, "a"))
    assert not torch.equal(sketch(gradient, 64, "a"), sketch(gradient, 64, "b"))
    few, many = sketch(gradient, 64, "a"), sketch(torch.cat([gradient, 2 * gradient]), 64, "a")
    torch.testing.assert_close(many, torch.cat([few, 2 * few]))
