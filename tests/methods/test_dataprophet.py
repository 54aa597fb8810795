"""DataProphet's terms against their definitions: expectations as loops over all pairs, diversity written out."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans

from selectmm.errors import UserError
from selectmm.features.answers import AnswerLoss
from selectmm.features.feature import NO_ANSWER, Feature, Features, Targets
from selectmm.features.states import ImageStates, TextStates
from selectmm.methods.check import pool_of
from selectmm.methods.dataprophet import DataProphet, capped
from selectmm.methods.transfer import Embedding, Transfer, diversity
from selectmm.pool.pool import Pool

WIDTH = 5
QUESTION, ANSWER, IMAGE, LOSS = TextStates("question", 0), TextStates("answer", 0), ImageStates(0), AnswerLoss()


@dataclass(frozen=True)
class Bench:
    """Rows of three sources and examples of two benchmarks; text-only rows among both, one row without answer."""

    pool: Pool
    features: Features

    @classmethod
    def of(cls, seed: int = 0, positive: bool = True) -> "Bench":
        """``positive`` keeps all likenesses above 0, so that the metric is a weight."""
        rng = np.random.default_rng(seed)
        rows = [(f"s{i % 3}", f"q{i}", None if i % 5 == 4 else f"{i // 2}.png") for i in range(24)]
        examples = [(f"t{i % 2}", f"e{i}", None if i % 6 == 5 else f"t{i}.png") for i in range(10)]
        pool, targets = pool_of(rows), pool_of(examples)
        values = _values(pool, rng, positive)
        values[LOSS][7] = NO_ANSWER
        return cls(pool, Features(values, Targets(targets, _values(targets, rng, positive))))

    @property
    def targets(self) -> Pool:
        return self.features.targets.pool

    def transfer(self) -> Transfer:
        return Transfer.of(self.pool, self.features, Embedding(0), clusters=4, silhouette_rows=2000, seed=1)

    def loss(self, row: int) -> float:
        """Of a row; one without answer has the mean of its source."""
        losses = self.features[LOSS]
        if losses[row] != NO_ANSWER:
            return float(losses[row])
        own = (self.pool.sources == self.pool.sources[row]) & (losses != NO_ANSWER)
        return float(losses[own].mean())


def _values(pool: Pool, rng: np.random.Generator, positive: bool) -> dict[Feature, np.ndarray]:
    def vectors(count: int) -> np.ndarray:
        made = rng.normal(size=(count, WIDTH))
        return np.abs(made) if positive else made

    texts = {feature: vectors(len(pool)) for feature in (QUESTION, ANSWER)}
    return {**texts, IMAGE: vectors(len(pool.images)), LOSS: rng.uniform(0.1, 3, len(pool))}


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def likeness(bench: Bench, row: int, example: int) -> tuple[float, float, float]:
    """Cosines of question, answer and image of one pair; without image a row is like others without, and no other."""
    targets = bench.features.targets
    texts = [cosine(bench.features[part][row], targets[part][example]) for part in (QUESTION, ANSWER)]
    here, there = bench.pool.image_of[row], targets.pool.image_of[example]
    if here < 0 or there < 0:
        return texts[0], texts[1], float(here < 0 and there < 0)
    return texts[0], texts[1], cosine(bench.features[IMAGE][here], targets[IMAGE][there])


def rows_of(pool: Pool, source: str) -> list[int]:
    return np.flatnonzero(pool.sources == source).tolist()


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_similarities_are_means_over_all_pairs(seed: int, positive: bool) -> None:
    bench = Bench.of(seed, positive)
    transfer = bench.transfer()
    assert (transfer.sources, transfer.targets) == (["s0", "s1", "s2"], ["t0", "t1"])
    for (s, source), (t, target) in product(enumerate(transfer.sources), enumerate(transfer.targets)):
        pairs = product(rows_of(bench.pool, source), rows_of(bench.targets, target))
        expected = np.mean([likeness(bench, row, example) for row, example in pairs], axis=0)
        made = (transfer.question[s, t], transfer.answer[s, t], transfer.image[s, t])
        assert made == pytest.approx(expected, abs=1e-6)  # embeddings are in single precision


def test_perplexities_are_of_mean_losses() -> None:
    bench = Bench.of()
    transfer = bench.transfer()
    for number, source in enumerate(transfer.sources):
        losses = [bench.loss(row) for row in rows_of(bench.pool, source)]
        assert transfer.source_perplexity[number] == pytest.approx(np.exp(np.mean(losses)))
    for number, target in enumerate(transfer.targets):
        losses = bench.features.targets[LOSS][rows_of(bench.targets, target)]
        assert transfer.target_perplexity[number] == pytest.approx(np.exp(np.mean(losses)))


def test_the_metric_is_the_product_of_its_terms() -> None:
    bench = Bench.of()
    transfer = bench.transfer()
    for s, t in product(range(3), range(2)):
        terms = transfer.question[s, t] * transfer.answer[s, t] * transfer.image[s, t]
        terms *= transfer.source_perplexity[s] * transfer.diversity[s] / transfer.target_perplexity[t]
        assert transfer.of_sources[s, t] == pytest.approx(terms)


def test_a_rows_metric_is_that_of_the_row_alone_without_diversity() -> None:
    bench = Bench.of()
    transfer = bench.transfer()
    for row, (t, target) in product(range(len(bench.pool)), enumerate(transfer.targets)):
        examples = rows_of(bench.targets, target)
        terms = np.mean([likeness(bench, row, example) for example in examples], axis=0)
        expected = np.prod(terms) * np.exp(bench.loss(row)) / transfer.target_perplexity[t]
        assert transfer.of_rows[row, t] == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_a_source_without_any_answer_is_refused_in_one_sentence() -> None:
    bench = Bench.of()
    bench.features.values[LOSS][rows_of(bench.pool, "s1")] = NO_ANSWER
    with pytest.raises(UserError, match=r"a whole source has none; raise recipe\.max_length"):
        bench.transfer()


def silhouette(vectors: np.ndarray, labels: np.ndarray) -> float:
    """Rousseeuw's definition, point by point: (b − a) / max(a, b), 0 for a point alone in its cluster."""
    found = []
    for i, vector in enumerate(vectors):
        distances = np.linalg.norm(vectors - vector, axis=1)
        mates = (labels == labels[i]) & (np.arange(len(vectors)) != i)
        if not mates.any():
            found.append(0.0)
            continue
        a = distances[mates].mean()
        b = min(distances[labels == other].mean() for other in set(labels.tolist()) - {labels[i]})
        found.append((b - a) / max(a, b))
    return float(np.mean(found))


@given(seed=st.integers(0, 1000), rows=st.integers(8, 40), clusters=st.integers(2, 6))
@settings(max_examples=25)
def test_diversity_is_silhouette_plus_entropy_over_log_k(seed: int, rows: int, clusters: int) -> None:
    """Only the clustering itself is scikit-learn's."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, 4)) + 4 * rng.integers(0, 2, (rows, 1))
    labels = KMeans(clusters, n_init=4, random_state=seed).fit_predict(vectors)
    shares = [float(np.mean(labels == label)) for label in sorted(set(labels.tolist()))]
    entropy = -sum(share * np.log(share) for share in shares) / np.log(clusters)
    expected = max(0.0, silhouette(vectors, labels) + entropy)
    assert diversity(vectors, clusters, 2000, seed) == pytest.approx(expected)


def test_diversity_at_its_limits() -> None:
    alike = np.ones((6, 3))
    assert diversity(alike, 10, 2000, 0) == 0, "one vector, however often"
    assert diversity(alike[:1], 10, 2000, 0) == 0
    corners = np.eye(4)
    assert diversity(corners, 10, 2000, 0) == pytest.approx(np.log(4) / np.log(10)), "four clusters of one: H alone"
    pairs = np.repeat(np.eye(2), 5, axis=0)
    assert diversity(pairs, 2, 2000, 0) == pytest.approx(2), "two equal clusters without width: the most there is"


def test_the_silhouette_of_some_rows_is_near_that_of_all() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(600, 4)) + 6 * rng.integers(0, 3, (600, 1))
    assert diversity(vectors, 3, 150, 0) == pytest.approx(diversity(vectors, 3, 600, 0), abs=0.05)


def select(method: DataProphet, bench: Bench, budget: int, seed: int = 0) -> list[int]:
    return method.select(bench.pool, bench.features, budget, np.random.default_rng(seed)).rows.tolist()


def test_sources_get_their_share_of_the_metric_averaged_over_targets() -> None:
    bench, method = Bench.of(), DataProphet(clusters=4)
    seed = int(np.random.default_rng(0).integers(2**31))
    metric = Transfer.of(bench.pool, bench.features, Embedding(0), 4, 2000, seed).of_sources
    mixture = (metric / metric.sum(0)).mean(1)
    rows = select(method, bench, 12)
    for number, source in enumerate(("s0", "s1", "s2")):
        kept = sum(bench.pool.sources[row] == source for row in rows)
        assert kept < 8, "no source is exhausted, or shares would have moved on"
        assert abs(kept - 12 * mixture[number]) < 1


def test_inside_a_source_rows_are_drawn_uniformly() -> None:
    bench, times = Bench.of(), np.zeros(24)
    method = DataProphet(clusters=2)
    for seed in range(60):
        times[select(method, bench, 6, seed)] += 1
    for source in ("s0", "s1", "s2"):
        own = times[rows_of(bench.pool, source)]
        p = own.mean() / 60
        assert (np.abs(own - own.mean()) < 5 * np.sqrt(60 * p * (1 - p))).all()


def test_level_row_keeps_the_highest_rows() -> None:
    bench = Bench.of()
    scores = bench.transfer().of_rows.mean(1)
    assert select(DataProphet(level="row"), bench, 7) == sorted(np.argsort(-scores, kind="stable")[:7].tolist())


def test_capped_shares_by_hand() -> None:
    # 0.8 of 10 is 8, but there are 2: the 8 left go to the others as 0.15 to 0.05
    assert capped(np.array([0.8, 0.15, 0.05]), np.array([2, 20, 20]), 10).tolist() == [2, 6, 2]
    assert capped(np.array([1.0, 0.0]), np.array([3, 5]), 6).tolist() == [3, 3], "weight 0, but nothing else is left"
    assert capped(np.array([3.0, 1.0]), np.array([3, 5]), 8).tolist() == [3, 5]


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.01, 0.3, 1, 1.1, 7]), st.integers(1, 30)), min_size=1, max_size=8),
    st.floats(0, 1),
)
def test_capped_shares_are_whole_or_in_proportion(groups: list[tuple[float, int]], part: float) -> None:
    """Between the sources that are not exhausted, shares are as their weights to within the rounding of one row."""
    weights, sizes = np.array([w for w, _ in groups]), np.array([s for _, s in groups])
    total = round(part * int(sizes.sum()))
    made = capped(weights, sizes, total)
    assert made.sum() == total and (made <= sizes).all() and (made >= 0).all()
    room = made < sizes
    for i, j in product(np.flatnonzero(room), np.flatnonzero(weights)):
        if weights[i] > 0:  # j may be exhausted, and then it got no more than its weight says
            assert made[j] / weights[j] <= (made[i] + 1) / weights[i] + 1 / weights[j]
    if (room & (weights > 0)).any():
        assert not made[weights == 0].any(), "weight 0 gets what nobody else can take"


@pytest.mark.parametrize("seed", range(12))
def test_a_source_that_points_away_from_the_targets_gets_nothing(seed: int) -> None:
    """Cosines may be negative, and so may the metric; a share may not."""
    bench, method = Bench.of(seed, positive=False), DataProphet(clusters=4)
    metric = Transfer.of(
        bench.pool, bench.features, Embedding(0), 4, 2000, int(np.random.default_rng(0).integers(2**31))
    ).of_sources
    for budget in (1, 6, 12, 24):
        rows = select(method, bench, budget)
        assert len(rows) == len(set(rows)) == budget
        room = sum(len(rows_of(bench.pool, f"s{number}")) for number in np.flatnonzero((metric > 0).any(1)))
        for number in np.flatnonzero((metric <= 0).all(1)):
            assert budget > room or not set(rows) & set(rows_of(bench.pool, f"s{number}"))
