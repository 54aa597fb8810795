"""OnceSelect's sampler against all subsets, its classifier against what it was shown, and the whole by its promises."""

from itertools import combinations, product
from math import comb, log

import numpy as np
import pytest
import torch

from selectmm.methods import cluster_classifier, kdpp, once_select
from selectmm.methods.cluster_classifier import Training, confidence
from selectmm.methods.clustering import Vectors, kmeans
from selectmm.methods.content import by_content
from selectmm.methods.once_select import OnceSelect, by_size
from selectmm.methods.order import random_keys
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool

FAST = {"epochs": 3, "wide": 16, "gate": 8}


def test_symmetric_polynomials_by_hand_and_beyond_what_a_float_holds() -> None:
    """Of 1, 2, 3: 1, 6, 11, 6. Of 200 times 1e-6 the hundredth is C(200, 100) · 1e-600, which is no float."""
    assert np.exp(kdpp.elementary(np.log([1.0, 2, 3]), 3)[:, -1]) == pytest.approx([1, 6, 11, 6])
    assert kdpp.elementary(np.full(200, log(1e-6)), 100)[100, -1] == pytest.approx(log(comb(200, 100)) - 600 * log(10))


def test_sets_are_drawn_in_proportion_to_their_determinants() -> None:
    """Every pair and triple of five items, four of them alike by twos; within five standard errors of 3,000 draws."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5, 4))
    vectors[1] = vectors[0] + 0.1
    kernel = vectors @ vectors.T + 1e-6 * np.eye(5)
    for count in (2, 3):
        sets = list(combinations(range(5), count))
        weights = np.array([np.linalg.det(kernel[np.ix_(s, s)]) for s in sets])
        found = dict.fromkeys(sets, 0)
        for _ in range(3000):
            found[tuple(sorted(kdpp.sample(kernel, count, rng).tolist()))] += 1
        share = weights / weights.sum()
        error = np.abs(np.array([found[s] for s in sets]) / 3000 - share)
        assert (error <= 5 * np.sqrt(share * (1 - share) / 3000) + 1e-9).all()


def test_identical_items_and_all_items_can_be_drawn() -> None:
    rng = np.random.default_rng(0)
    same = np.ones((6, 6)) + 1e-8 * np.eye(6)
    for count in range(1, 7):
        drawn = kdpp.sample(same, count, rng)
        assert len(np.unique(drawn)) == count
    assert sorted(kdpp.sample(np.eye(4), 4, rng).tolist()) == [0, 1, 2, 3]


def test_the_classifier_is_sure_of_what_lies_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters on the axes and a vector between: it is the one that the classifier is least sure of."""
    monkeypatch.setattr(cluster_classifier, "RATE", 1e-2)  # at the published rate so few rows teach nothing
    monkeypatch.setattr(cluster_classifier, "BATCH", 4)
    rng = np.random.default_rng(0)
    centres = np.array([[4.0, 0, 4, 0], [0, 4, 0, 4]])
    values = np.concatenate([centres[np.arange(80) % 2] + 0.1 * rng.normal(size=(80, 4)), [[2.0, 2, 2, 2]]])
    vectors, core = Vectors(values, np.arange(81), unit=True), np.arange(80)
    how = Training(wide=16, gate=8, dropout=0.1, epochs=2, validation=0.25, accuracy=1.0)
    sure = confidence(vectors, core, core % 2, how, seed=0)
    assert sure.argmin() == 80 and sure[:80].min() > sure[80] + 0.1
    assert (confidence(vectors, core, core % 2, how, 1) == confidence(vectors, core, core % 2, how, 1)).all()


@pytest.mark.parametrize(
    ("judged", "kept"),
    [
        ([(0.1, True), (0.58, True), (0.9, True)], 2),
        ([(0.6, False), (0.3, True), (0.6, False)], 2),
        ([(0.6, False), (0.3, False), (0.65, False)], 1),
        ([(0.5, True), (0.7, True), (0.2, True)], 1),
    ],
    ids=["nearest", "covers all clusters", "none covers", "the first of two"],
)
def test_the_epoch_nearest_the_accuracy_that_covers_all_clusters_is_used(
    judged: list[tuple[float, bool]], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a training that ends after that epoch."""
    monkeypatch.setattr(cluster_classifier, "RATE", 1e-2)
    values = np.random.default_rng(1).normal(size=(40, 4))
    vectors, core = Vectors(values, np.arange(40), unit=True), np.arange(40)

    def trained(epochs: int, message: list[tuple[float, bool]]) -> np.ndarray:
        script = iter(message)
        monkeypatch.setattr(cluster_classifier, "_judge", lambda *_: next(script))
        return confidence(vectors, core, core % 4, Training(16, 8, 0.1, epochs, 0.25, 0.6), seed=0)

    found = trained(3, judged)
    assert (found == trained(kept, [(0.0, False)] * (kept - 1) + [(0.6, True)])).all()
    others = {1, 2, 3} - {kept}
    assert all((found != trained(n, [(0.0, False)] * (n - 1) + [(0.6, True)])).any() for n in others)


def test_the_network_is_its_formula_and_dropout_scales_what_it_leaves() -> None:
    net = cluster_classifier._made(2, 3, Training(4, 3, 0.75, 1, 0.2, 0.6), torch.Generator().manual_seed(0))
    of = {name: [tensor.detach().numpy() for tensor in part.parameters()] for name, part in net.named_children()}
    rng = np.random.default_rng(0)
    pairs, keep = rng.normal(size=(5, 4)), rng.random((5, 4)) < 0.5

    def linear(name: str, values: np.ndarray) -> np.ndarray:
        return values @ of[name][0].T + (of[name][1] if len(of[name]) > 1 else 0)

    image, text = pairs[:, :2], pairs[:, 2:]
    gate = 1 / (1 + np.exp(-linear("gate", np.maximum(linear("narrow", np.c_[image, text, image * text]), 0))))
    mixed = gate * np.maximum(linear("image", image), 0) + (1 - gate) * np.maximum(linear("text", text), 0)
    mixed += 0.1 * linear("both", image * text)
    centred = mixed - mixed.mean(1, keepdims=True)
    ready = np.maximum(centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5), 0)
    for left, message in ((ready, None), (4 * ready * keep, torch.from_numpy(keep))):
        expected = linear("out", left)
        np.testing.assert_allclose(net(torch.from_numpy(pairs), message).detach().numpy(), expected, atol=1e-12)


def test_every_cluster_is_drawn_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 700 rows to learn of one cluster and 100 of another, 800 are drawn an epoch: 400 of each, within five standard
    errors (14 each)."""
    seen: list[torch.Tensor] = []
    plain = cluster_classifier.cross_entropy

    def recorded(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        seen.append(truth)
        return plain(logits, truth)

    monkeypatch.setattr(cluster_classifier, "cross_entropy", recorded)
    vectors = Vectors(given_values(1000, 0), np.arange(1000), unit=True)
    labels = np.repeat([0, 1], [875, 125])
    confidence(vectors, np.arange(1000), labels, Training(4, 3, 0.1, 1, 0.2, 0.6), seed=0)
    drawn = torch.cat(seen)
    assert len(drawn) == 800 and abs(int((drawn == 0).sum()) - 400) < 70


def test_a_cluster_of_one_row_teaches_it_and_others_are_judged_on_one_at_least() -> None:
    labels = np.array([0] + [1] * 2 + [2] * 13)
    held = cluster_classifier._held_out(labels, 0.2, torch.Generator().manual_seed(0)).numpy()
    assert [int(held[labels == cluster].sum()) for cluster in range(3)] == [0, 1, 3]


def test_accuracy_counts_every_cluster_the_same() -> None:
    """All three of one cluster are right, and one of two of another: (1 + 1/2) / 2."""
    guessed, truth = torch.tensor([0, 0, 0, 1, 0]), torch.tensor([0, 0, 0, 1, 1])
    assert cluster_classifier._judge(guessed, truth) == (0.75, True)
    assert cluster_classifier._judge(torch.zeros(5, dtype=torch.int64), truth) == (0.5, False)


def given_values(rows: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, 6))


@pytest.mark.parametrize(
    ("sizes", "budget", "quotas"),
    [
        ([90, 10], 10, [9, 1]),
        ([97, 2, 1], 10, [8, 1, 1]),
        ([60, 38, 2], 10, [6, 3, 1]),
        ([5, 1, 1], 3, [1, 1, 1]),
        ([90, 4, 6], 2, [2, 0, 0]),
    ],
    ids=["in proportion", "two get one", "the others share", "one each", "not enough for one each"],
)
def test_quotas_by_hand(sizes: list[int], budget: int, quotas: list[int]) -> None:
    """Of 60, 38, 2 the last has a share of 0.2; nine rows for 60 and 38 are 5.51 and 3.49."""
    assert by_size(np.array(sizes), budget).tolist() == quotas


@pytest.mark.parametrize("candidates", [1.0, 2.0])
def test_every_cluster_gives_by_its_size_from_its_unsure_rows(candidates: float) -> None:
    """With as many candidates as the quota no draw is left."""
    pool, values = talking_pool(90), given_values(90, 0)
    method = OnceSelect(clusters=4, candidates=candidates, **FAST)
    (feature,) = method.needs().features
    subset = chosen(method, pool, {feature: values}, 24)
    rng, order = np.random.default_rng(0), by_content(pool)
    random_keys(pool, rng)
    labels = np.empty(90, np.int64)
    labels[order] = kmeans(Vectors(values, order, unit=True), 4, rng, spherical=False, iterations=100).labels
    for cluster in range(labels.max() + 1):
        own = np.flatnonzero(labels == cluster)
        count = int(np.isin(subset.rows, own).sum())
        assert abs(count - 24 * len(own) / 90) <= 1 and count >= 1
        limit = np.sort(subset.scores[own])[min(len(own), int(candidates * count)) - 1]
        assert (subset.scores[subset.rows[np.isin(subset.rows, own)]] <= limit).all()


def test_core_candidates_blocks_and_kernels_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cluster of 40 rows with given confidences; the sampler is replaced by one that takes the first rows."""
    pool, values = talking_pool(40), given_values(40, 3)
    order, sure = by_content(pool), np.random.default_rng(5).permutation(40) / 40
    unit = values[order] / np.linalg.norm(values[order], axis=1, keepdims=True)
    cores: list[np.ndarray] = []
    kernels: list[np.ndarray] = []
    monkeypatch.setattr(once_select, "confidence", lambda _, core, *__: (cores.append(core), sure)[1])
    monkeypatch.setattr(kdpp, "sample", lambda kernel, count, _: (kernels.append(kernel), np.arange(count))[1])
    method = OnceSelect(clusters=1, core_share=0.11, block=8)  # 4.4 rows, rounded up
    subset = chosen(method, pool, {method.needs().features[0]: values}, 10)

    near = np.argsort(np.linalg.norm(unit - unit.mean(0), axis=1))
    assert sorted(cores[0].tolist()) == sorted(near[:5].tolist())
    unsure = np.argsort(sure)[:20].tolist()  # twice the quota
    keys = random_keys(pool, np.random.default_rng(0))[order]
    shuffled = sorted(unsure, key=lambda place: keys[place])
    taken: list[int] = []
    for kernel, start, count in zip(kernels, (0, 8, 16), (4, 4, 2), strict=True):
        block = shuffled[start : start + 8]
        for (i, one), (j, other) in product(enumerate(block), repeat=2):
            quality = [1 - unsure.index(place) / 20 for place in (one, other)]
            alike = (1 + unit[one] @ unit[other]) / 2
            assert kernel[i, j] == pytest.approx(np.sqrt(quality[0] * quality[1]) * alike + (i == j) * 1e-8, abs=1e-6)
        taken += block[:count]
    assert sorted(subset.rows.tolist()) == sorted(order[taken].tolist())


def test_rows_that_tie_are_taken_by_what_they_say() -> None:
    values = np.random.default_rng(0).integers(0, 2, (60, 4)).astype(float)
    method = OnceSelect(clusters=4, block=8, **FAST)
    keeps_its_rows_in_another_order(method, talking_pool(60), {method.needs().features[0]: values}, 20)
