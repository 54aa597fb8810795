"""k-means and neighbours against scikit-learn's, and what must not decide: threads, blocks, the order of the rows."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from selectmm.methods import clustering
from selectmm.methods.clustering import Clusters, Vectors, kmeans, nearest
from selectmm.methods.content import by_content, groups_of
from selectmm.methods.quotas import quotas
from tests.methods.pools import shuffled, talking_pool


def blobs(rows: int, width: int = 5, seed: int = 0) -> np.ndarray:
    """Five clouds around far corners."""
    rng = np.random.default_rng(seed)
    return (6 * rng.normal(size=(5, width))[rng.integers(0, 5, rows)] + rng.normal(size=(rows, width))).astype("f4")


def vectors(values: np.ndarray, unit: bool = False) -> Vectors:
    return Vectors(values, np.arange(len(values)), unit)


def clusters(values: np.ndarray, k: int, *, spherical: bool = False, seed: int = 0, iterations: int = 100) -> Clusters:
    return kmeans(
        vectors(values, unit=spherical), k, np.random.default_rng(seed), spherical=spherical, iterations=iterations
    )


@pytest.mark.parametrize("seed", range(5))
def test_kmeans_is_scikit_learns_from_the_same_beginning(seed: int) -> None:
    values = blobs(200, seed=seed)
    first = values[clustering._distinct(vectors(values), 7, np.random.default_rng(seed))].astype(np.float64)
    theirs = KMeans(7, init=first, n_init=1, max_iter=100, tol=0, algorithm="lloyd").fit(values.astype(np.float64))
    ours = clusters(values, 7, seed=seed)
    assert np.array_equal(ours.labels, theirs.labels_)
    np.testing.assert_allclose(ours.centres, theirs.cluster_centers_, atol=1e-9)


def test_spherical_kmeans_stops_where_every_vector_has_its_best_centre_and_every_centre_is_its_mean() -> None:
    values = blobs(300)
    found = clusters(values, 6, spherical=True)
    unit = values / np.linalg.norm(values.astype(np.float64), axis=1, keepdims=True)
    assert np.array_equal((unit @ found.centres.T).argmax(1), found.labels)
    for label, members in enumerate(groups_of(found.labels)):
        mean = unit[members].mean(0)
        np.testing.assert_allclose(found.centres[label], mean / np.linalg.norm(mean), atol=1e-9)


def test_clusters_do_not_depend_on_blocks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    values = blobs(400, width=16).astype(np.float16)
    whole = [clusters(values, 12, spherical=s) for s in (False, True)]
    neighbours = nearest(vectors(values), 4)[0]
    monkeypatch.setattr(clustering, "BLOCK", 700)  # 43 vectors
    monkeypatch.setattr(clustering, "HELD", 0)
    torch.set_num_threads(2)
    try:
        for spherical, one in zip((False, True), whole, strict=True):
            assert np.array_equal(clusters(values, 12, spherical=spherical).labels, one.labels)
        monkeypatch.setattr(clustering, "BLOCK", 37 * 4096)
        assert np.array_equal(nearest(vectors(values), 4)[0], neighbours)
    finally:
        torch.set_num_threads(1)


def test_no_more_clusters_than_half_the_vectors_or_distinct_ones() -> None:
    assert len(clusters(blobs(9), 30).centres) == 4
    twins = np.repeat(blobs(3), 5, axis=0)
    assert len(clusters(twins, 7).centres) == 3
    assert len(clusters(np.ones((8, 3), np.float32), 4).centres) == len(clusters(blobs(1), 4).centres) == 1


def test_a_cluster_that_lost_all_its_vectors_gets_the_one_farthest_from_its_centre() -> None:
    """By hand: the nearness −4, −1, −9, −2 of two pairs; cluster 2 is empty and takes the third vector."""
    labels = torch.tensor([0, 0, 1, 1])
    assert clustering._fill_empty(labels, torch.tensor([-4.0, -1.0, -9.0, -2.0]), 3) == [(2, 1)]
    assert labels.tolist() == [0, 0, 2, 1]
    alone = torch.tensor([0, 1])
    assert clustering._fill_empty(alone, torch.tensor([-4.0, -1.0]), 3) == []
    assert alone.tolist() == [0, 1], "nobody can be spared"


@pytest.mark.parametrize("spherical", [False, True])
def test_centres_are_means_although_vectors_moved_into_empty_clusters(
    spherical: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From centres of which two are far from everything, so that their clusters are empty at first."""
    values = blobs(60)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    first = torch.full((4, 5), 1e9, dtype=torch.float64)
    if spherical:
        first[:] = -torch.from_numpy(values).double().mean(0)
    first[:2] = torch.from_numpy(values[:2])
    monkeypatch.setattr(clustering, "_distinct", lambda *_: np.arange(4))
    real = Vectors.take
    monkeypatch.setattr(Vectors, "take", lambda self, p: first if np.array_equal(p, np.arange(4)) else real(self, p))
    found = clusters(values, 4, spherical=spherical, iterations=1)
    assert len(found.centres) == 4
    for label, members in enumerate(groups_of(found.labels)):
        mean = values[members].astype(np.float64).mean(0)
        mean = mean / np.linalg.norm(mean) if spherical else mean
        np.testing.assert_allclose(found.centres[label], mean, atol=1e-9)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 999), st.sampled_from([8, 64, 4096]))
@settings(max_examples=25)
def test_neighbours_are_scikit_learns(rows: int, k: int, seed: int, block: int) -> None:
    values = np.random.default_rng(seed).normal(size=(rows, 3))
    before, clustering.BLOCK = clustering.BLOCK, block * 4096 // 16
    try:
        found, away = nearest(vectors(values), k)
    finally:
        clustering.BLOCK = before
    k = min(k, rows - 1)
    distances, theirs = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(values).kneighbors()
    assert np.array_equal(found, theirs)
    np.testing.assert_allclose(away, distances**2, atol=1e-9)


def test_of_neighbours_as_near_the_earlier_ones_are_taken() -> None:
    """A square with its centre: each corner is as far from two others; all but one are alike."""
    square = np.array([[0, 0], [2, 0], [0, 2], [2, 2], [1, 1]], np.float32) + 1000
    found, away = nearest(vectors(square), 2)
    assert found.tolist() == [[4, 1], [4, 0], [4, 0], [4, 1], [0, 1]]
    assert away.tolist() == [[2, 4]] * 4 + [[2, 2]]
    assert nearest(vectors(np.ones((4, 2))), 2)[0].tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]
    assert nearest(vectors(np.ones((1, 2))), 2)[0].shape == (1, 0)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 999), st.sampled_from([1, 3, 1024]), st.integers(1, 40))
@settings(max_examples=40)
def test_of_neighbours_as_near_the_earlier_ones_are_taken_in_tiles_and_blocks_of_any_size(
    rows: int, k: int, seed: int, tile: int, block: int
) -> None:
    """Whole numbers, whose distances have no rounding errors and many ties."""
    values = np.random.default_rng(seed).integers(0, 3, (rows, 2)).astype(float)
    before = clustering.TILE, clustering.BLOCK
    clustering.TILE, clustering.BLOCK = tile, block * 4096
    try:
        found, away = nearest(vectors(values), k)
    finally:
        clustering.TILE, clustering.BLOCK = before
    squared = ((values[:, None] - values) ** 2).sum(2)
    for row in range(rows):
        ranking = sorted((squared[row, other], other) for other in range(rows) if other != row)[:k]
        assert (away[row].tolist(), found[row].tolist()) == ([d for d, _ in ranking], [other for _, other in ranking])


def test_rows_in_order_of_content_are_the_same_however_the_pool_is_stored() -> None:
    pool = talking_pool(30)
    moved, _ = shuffled(pool)
    digests = [np.array(p.table["digest"].to_pylist())[by_content(p)].tolist() for p in (pool, moved)]
    assert digests[0] == digests[1] == sorted(digests[0])


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 5)), min_size=1, max_size=6), st.data())
@settings(max_examples=100)
def test_quotas_sum_up_and_never_exceed_a_group(groups: list[tuple[int, float]], data: st.DataObject) -> None:
    sizes, weights = np.array([size for size, _ in groups]), np.array([weight for _, weight in groups])
    total = data.draw(st.integers(0, int(sizes.sum())))
    given_out = quotas(weights, sizes, total)
    assert given_out.sum() == total and (given_out <= sizes).all() and (given_out >= 0).all()
    if weights.sum() > 1e-300 and (weights / weights.sum() * total + 1 <= sizes).all():
        assert np.abs(given_out - weights / weights.sum() * total).max() < 1


def test_what_a_full_group_cannot_give_goes_to_the_others_by_weight() -> None:
    """By hand: 8 rows by 4 : 2 : 1 : 1 are 4, 2, 1, 1; the first has one, and its three by 2 : 1 : 1 are 1, 1, 1."""
    assert quotas(np.array([4.0, 2, 1, 1]), np.array([1, 9, 9, 9]), 8).tolist() == [1, 3, 2, 2]
    assert quotas(np.array([1.0, 0, 0]), np.array([2, 2, 6]), 6).tolist() == [2, 1, 3]
