"""ScalSelect's streamed leverage against a thin singular value decomposition, and what it keeps."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from selectmm.features.attended import AttendedStates
from selectmm.features.feature import Features
from selectmm.methods import leverage as leverage_module
from selectmm.methods.blocks import blocks
from selectmm.methods.check import pool_of
from selectmm.methods.leverage import leverage, rank_of, spectrum
from selectmm.methods.scalselect import ScalSelect

FEATURE = AttendedStates()


def by_svd(values: np.ndarray, energy: float, centering: bool) -> tuple[np.ndarray, bool]:
    """‖U_k[i]‖² of the thin decomposition, and whether k and the k-th direction are clear of rounding."""
    matrix = values - values.mean(0) if centering else values
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    energies = singular**2
    share = np.cumsum(energies) / energies.sum()
    k = int(np.argmax(share >= energy - 1e-12)) + 1
    following = energies[k] if k < len(energies) else 0.0
    clear = energies[k - 1] - following > 1e-3 * energies[0]
    return (left[:, :k] ** 2).sum(1), bool(clear and (energy == 1 or np.abs(share - energy).min() > 1e-6))


def matrix(seed: int, rows: int, width: int, rank: int, decay: float) -> np.ndarray:
    """Random, of a rank, with singular values that fall by ``decay`` from one to the next and columns off zero."""
    rng = np.random.default_rng(seed)
    scales = decay ** np.arange(rank)
    return (rng.normal(size=(rows, rank)) * scales) @ rng.normal(size=(rank, width)) + rng.normal(size=width)


@given(
    seed=st.integers(0, 10_000),
    rows=st.integers(2, 60),
    width=st.integers(1, 20),
    rank=st.integers(1, 20),
    decay=st.floats(0.6, 1),
    energy=st.sampled_from([0.3, 0.5, 0.9, 0.99, 1.0]),
    centering=st.booleans(),
)
@settings(max_examples=300)
def test_leverage_is_that_of_the_decomposition(
    seed: int, rows: int, width: int, rank: int, decay: float, energy: float, centering: bool
) -> None:
    values = matrix(seed, rows, width, min(rank, width), decay)
    expected, clear = by_svd(values, energy, centering)
    assume(clear)
    made = leverage(values, np.arange(rows), energy, centering)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize("centering", [True, False])
@pytest.mark.parametrize("kind", [np.float64, np.float32, np.float16])
def test_blocks_and_what_lies_on_disk_do_not_matter(
    kind: type[np.floating], centering: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only some rows count, in many blocks; the decomposition sees the same rounded numbers in double precision."""
    monkeypatch.setattr(leverage_module, "BLOCK", 64)
    values = matrix(0, 1000, 24, 24, 0.8).astype(kind)
    rows = np.flatnonzero(np.arange(1000) % 3)
    made = leverage(values, rows, 0.9, centering)
    expected, clear = by_svd(values[rows].astype(np.float64), 0.9, centering)
    assert clear
    # Relative to the largest: what single precision makes of a row is not less wrong because its leverage is small.
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5 * expected.max())


def test_two_passes_suffice_though_a_few_rows_lie_far_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean is not known before the inner products are; a sample's stands for it, and rounding stays small."""
    passes = []
    monkeypatch.setattr(leverage_module, "blocks", lambda *given: (passes.append(len(given[1])), blocks(*given))[1])
    values = matrix(0, 1000, 12, 12, 0.8) + 100
    values[:20] += 30
    values = values.astype(np.float32)
    made = leverage(values, np.arange(1000), 0.9, centering=True)
    expected, _ = by_svd(values.astype(np.float64), 0.9, centering=True)
    np.testing.assert_allclose(made, expected, atol=1e-5 * expected.max())
    assert passes == [256, 1000, 1000], "a sample, and all rows twice"


@pytest.mark.parametrize("centering", [True, False])
def test_the_spectrum_is_that_of_the_decomposition(centering: bool) -> None:
    values = matrix(0, 60, 12, 12, 0.8)
    rows = np.flatnonzero(np.arange(60) % 3)
    wanted = values[rows] - (values[rows].mean(0) if centering else 0)
    expected = np.linalg.svd(wanted, compute_uv=False) ** 2
    np.testing.assert_allclose(spectrum(values, rows, centering), expected, rtol=1e-8)


def test_identical_rows_have_no_leverage_once_they_are_centred() -> None:
    values = np.ones((5, 3))
    assert leverage(values, np.arange(5), 0.9, centering=True).tolist() == [0] * 5
    assert leverage(values, np.arange(5), 0.9, centering=False) == pytest.approx([1 / 5] * 5)


@pytest.mark.parametrize(("energy", "k"), [(0.3, 1), (0.6, 1), (0.61, 2), (0.9, 2), (0.91, 3), (1.0, 3)])
def test_reaching_the_energy_is_enough(energy: float, k: int) -> None:
    """METHODS: the smallest rank whose share is at least the energy; 6, 9 and 10 of 10."""
    assert rank_of(torch.tensor([6.0, 3.0, 1.0, 0.0], dtype=torch.float64), energy) == k


def test_leverages_sum_to_the_number_of_directions() -> None:
    values = matrix(0, 200, 12, 12, 1.0)
    assert leverage(values, np.arange(200), 1.0, centering=True).sum() == pytest.approx(12)


def test_the_highest_are_kept_and_text_rows_as_told() -> None:
    pool = pool_of([("a", f"q{i}", None if i % 4 == 3 else f"{i}.png") for i in range(40)])
    values = matrix(3, 40, 6, 6, 0.8)
    visual = np.flatnonzero(pool.image_of >= 0)
    scores, _ = by_svd(values[visual], 0.9, True)
    order = visual[np.argsort(-scores)].tolist()
    text = np.flatnonzero(pool.image_of < 0).tolist()
    features, rng = Features({FEATURE: values}), np.random.default_rng(0)
    everything = ScalSelect().select(pool, features, 16, rng)
    assert everything.rows.tolist() == sorted(text + order[:6])
    assert everything.scores[visual] == pytest.approx(scores, rel=1e-5)
    assert np.isnan(everything.scores[text]).all() and everything.excluded == {}
    without = ScalSelect(text_only="exclude").select(pool, features, 16, rng)
    assert without.rows.tolist() == sorted(order[:16])
    assert without.excluded == {"rows without image": 10}
    more = ScalSelect(text_only="exclude").select(pool, features, 33, rng)
    assert set(order) < set(more.rows.tolist()), "text rows are taken when nothing else is left"


def test_text_rows_that_would_fill_the_budget_get_their_share_of_it() -> None:
    pool = pool_of([("a", f"q{i}", None if i < 20 else f"{i}.png") for i in range(40)])
    subset = ScalSelect().select(pool, Features({FEATURE: matrix(3, 40, 6, 6, 0.8)}), 10, np.random.default_rng(0))
    assert (subset.rows < 20).sum() == 5
