"""DataTailor's parts by hand, and the whole against the published rule in plain loops."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.cluster import AgglomerativeClustering

from selectmm.methods.check import pool_of
from selectmm.methods.clustering import Vectors
from selectmm.methods.datatailor import SPECTRUM, STATE, DataTailor, _ward, representativeness, uniqueness
from selectmm.pool.pool import Pool
from tests.methods.pools import chosen, keeps_its_rows_in_another_order, talking_pool


def test_uniqueness_by_hand() -> None:
    """Places 0, 1 and 3 on a line: distances 1, 3, 2, so Σ_ij d_ij / n = 12 / 3 = 4."""
    line = Vectors(np.array([[0.0], [1.0], [3.0]]), np.arange(3))
    assert uniqueness(line, np.array([1.0, 2.0, 4.0])) == pytest.approx([14 / 4, 9 / 4, 7 / 4])
    assert uniqueness(Vectors(np.ones((2, 1)), np.arange(2)), np.ones(2)).tolist() == [0, 0]
    assert uniqueness(Vectors(np.ones((1, 1)), np.arange(1)), np.ones(1)).tolist() == [np.inf], "it has no neighbour"


def test_representativeness_by_hand() -> None:
    centres = np.array([[2.0, 0.0], [0.0, 1.0], [-3.0, 0.0]])
    e = np.e
    assert representativeness(centres) == pytest.approx([(1 + 1 / e) / 2, 1.0, (1 / e + 1) / 2])
    assert representativeness(centres[:1]).tolist() == [0]


def test_wards_clusters_are_scikit_learns_at_the_same_height() -> None:
    rng = np.random.default_rng(0)
    values = 5 * rng.normal(size=(6, 3))[rng.integers(0, 6, 80)] + rng.normal(size=(80, 3))
    found = _ward(values, 0.1)
    whole = AgglomerativeClustering(linkage="ward", distance_threshold=0.0, n_clusters=None).fit(values)
    height = 0.1 * whole.distances_[-1]
    theirs = AgglomerativeClustering(linkage="ward", distance_threshold=height, n_clusters=None).fit(values).labels_
    assert len(set(zip(found.tolist(), theirs.tolist(), strict=True))) == len(set(found.tolist())) == len(set(theirs))
    assert _ward(values[:1], 0.1).tolist() == [0]


def test_the_whole_is_the_published_rule() -> None:
    rng = np.random.default_rng(1)
    pool = talking_pool(45)
    states = 4 * rng.normal(size=(4, 3))[rng.integers(0, 4, 45)] + rng.normal(size=(45, 3))
    spectra = np.c_[rng.uniform(1, 3, 45), rng.uniform(0.1, 0.9, 45)]
    value, share = np.zeros(45), {}
    for source in sorted(pool.counts()):
        own = np.flatnonzero(pool.sources == source)
        label = _ward(states[own], 0.1)
        centre = {k: states[own[label == k]].mean(0) for k in set(label.tolist())}
        assert len(centre) > 2, "or nothing is tested"
        inf, uni, rep = spectra[own, 0], np.zeros(len(own)), np.zeros(len(own))
        for i, row in enumerate(own):
            mates = [j for j in range(len(own)) if label[j] == label[i]]
            pairs = sum(np.linalg.norm(states[own[a]] - states[own[b]]) for a in mates for b in mates)
            near = sum(np.linalg.norm(states[row] - states[own[j]]) * inf[j] for j in mates)
            uni[i] = near / (pairs / len(mates)) if pairs else np.inf  # alone
            mine = centre[label[i]]
            cosines = [mine @ c / np.linalg.norm(mine) / np.linalg.norm(c) for k, c in centre.items() if k != label[i]]
            rep[i] = np.mean(np.exp(cosines)) * inf[i]
        rank = [
            np.array([(np.sum(v < x) + (np.sum(np.isclose(v, x)) + 1) / 2) / len(v) for x in v])
            for v in (inf, uni, rep)
        ]
        value[own] = (1 * rank[0] + rank[1] + rank[2]) / (1 + 2)
        share[source] = len(own) * spectra[own, 1].mean() ** 2
    subset = chosen(DataTailor(), pool, {SPECTRUM: spectra, STATE: states}, 15)
    assert subset.scores == pytest.approx(value)
    for source, weight in share.items():
        own = np.flatnonzero(pool.sources == source)
        kept = [row for row in subset.rows if row in own]
        assert abs(len(kept) - 15 * weight / sum(share.values())) < 1
        assert min(value[kept]) >= max(value[np.setdiff1d(own, kept)])


def test_rows_at_one_place_share_their_ranks() -> None:
    """Two rows at one place: ranks of Uni and Rep are equal (0.75), those of Inf 0.5 and 1."""
    pool = pool_of([("s", "a", None), ("s", "b", None), ("t", "c", None)])
    values = {SPECTRUM: np.array([[1.0, 0.5], [2.0, 0.5], [1.0, 0.5]]), STATE: np.ones((3, 2))}
    subset = chosen(DataTailor(), pool, values, 1)
    assert subset.scores == pytest.approx([(0.5 + 1.5) / 3, (1 + 1.5) / 3, 1.0])
    twice = pool.table.to_pylist()
    twice[0]["turns"] *= 3  # three questions weigh what the row holds three times
    longer = Pool(pa.Table.from_pylist(twice, pool.table.schema), None, "longer")
    assert chosen(DataTailor(), longer, values, 1).scores[0] == pytest.approx((3 * 0.5 + 1.5) / 5)


def test_only_questions_count_as_questions() -> None:
    """A system prompt, offered tools, a call and its result make a row longer, and it still asks once."""
    pool = pool_of([("s", "a", None), ("s", "b", None), ("t", "c", None)])
    values = {SPECTRUM: np.array([[1.0, 0.5], [2.0, 0.5], [1.0, 0.5]]), STATE: np.ones((3, 2))}
    rows = pool.table.to_pylist()
    head = [{"role": role, "text": role} for role in ("system", "tools")]
    look = [{"role": role, "text": role} for role in ("tool_call", "tool_result")]
    rows[0]["turns"] = [*head, rows[0]["turns"][0], *look, *look, rows[0]["turns"][1]]
    halves = [pa.Table.from_pylist(some, pool.table.schema) for some in (rows[:1], rows)]
    longer = Pool(pa.concat_tables([halves[0], halves[1].slice(1)]), None, "longer")
    assert chosen(DataTailor(), longer, values, 1).scores == pytest.approx([(0.5 + 1.5) / 3, (1 + 1.5) / 3, 1.0])


def test_a_tasks_budget_follows_its_size_times_the_square_of_the_mean_share() -> None:
    """By hand: 0.1 and 0.9 are 0.5² = 0.25, and 0.6 is 0.36: of 8 rows 3.28 and 4.72; with 20 rows and 5 it is
    5 : 1.8, so 5.88 and 2.12.

    (The mean of the squares would be 0.41, and give the first four.)
    """
    shares = np.r_[np.tile([0.1, 0.9], 10), np.full(20, 0.6)]
    for sizes, kept in (((20, 20), [3, 5]), ((20, 5), [6, 2])):
        pool = pool_of([(name, f"{name} {row}", None) for name, n in zip("st", sizes, strict=True) for row in range(n)])
        rng = np.random.default_rng(0)
        values = {
            SPECTRUM: np.c_[rng.uniform(size=len(pool)), shares[: len(pool)]],
            STATE: rng.normal(size=(len(pool), 2)),
        }
        subset = chosen(DataTailor(), pool, values, 8)
        assert np.bincount(subset.rows >= 20).tolist() == kept


def test_the_only_task_gets_the_whole_budget_and_its_only_row() -> None:
    """All rows at one place, so one cluster: Uni and Rep tie, and the ranks of Inf decide."""
    pool = pool_of([("s", f"row {row}", None) for row in range(4)])
    informative = np.array([2.0, 4.0, 1.0, 3.0])
    values = {SPECTRUM: np.c_[informative, np.full(4, 0.5)], STATE: np.ones((4, 2))}
    assert chosen(DataTailor(), pool, values, 2).rows.tolist() == [1, 3]
    alone = pool_of([("s", "the only row", None)])
    assert chosen(DataTailor(), alone, {key: value[:1] for key, value in values.items()}, 1).rows.tolist() == [0]


def test_a_task_above_the_limit_is_clustered_to_means_first_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(2)
    values = {SPECTRUM: rng.uniform(size=(60, 2)).round(1) + 0.1, STATE: rng.normal(size=(60, 3)).round()}
    for method in (DataTailor(), DataTailor(ward_rows=5)):
        keeps_its_rows_in_another_order(method, talking_pool(60), values, 20)
    far = {SPECTRUM: values[SPECTRUM], STATE: np.repeat([[0.0], [100.0]], 30, axis=0) + rng.normal(size=(60, 1))}
    scores = [chosen(DataTailor(cut=0.5, ward_rows=limit), talking_pool(60), far, 20).scores for limit in (8000, 8)]
    assert scores[0] == pytest.approx(scores[1]), "two far clouds are two clusters either way"
