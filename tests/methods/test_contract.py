"""Every method keeps the contract, and the contract notices who does not."""

from dataclasses import dataclass

import numpy as np
import pytest

from selectmm.features.feature import Features
from selectmm.methods.check import check_method, invented_pool
from selectmm.methods.length import Length
from selectmm.methods.method import Method, Needs
from selectmm.methods.order import shares
from selectmm.methods.prism import Prism
from selectmm.methods.random import Random
from selectmm.methods.subset import Subset
from selectmm.pool.pool import Pool


@pytest.mark.parametrize(
    "method",
    [
        Random(),
        Length(),
        *[Prism(centering=c, scope=s) for c in ("corpus_mean", "per_vector", "none") for s in ("per_source", "global")],
        *[
            Prism(features=f, keep=k, pool=p)
            for f, k, p in [("joint", "medium", "mean"), ("joint", "high", "last_token")]
        ],
    ],
    ids=repr,
)
def test_methods_keep_the_contract(method: Method) -> None:
    check_method(method)


@dataclass(frozen=True)
class First:
    """Keeps the first rows: depends on how the pool is stored."""

    surplus: int = 0

    def needs(self) -> Needs:
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        return Subset(np.arange(min(budget + self.surplus, len(pool))))


def test_the_contract_notices_a_broken_promise() -> None:
    with pytest.raises(AssertionError, match="keeps other rows when the pool is stored in another order"):
        check_method(First())
    with pytest.raises(AssertionError, match="kept 2 of 60 rows for a budget of 1"):
        check_method(First(surplus=1))


def test_random_is_uniform_and_follows_the_seed() -> None:
    pool = invented_pool(60)
    kept = np.zeros(60)
    for seed in range(600):
        kept[Random().select(pool, Features({}), 20, np.random.default_rng(seed)).rows] += 1
    # Each row is kept in 200 of 600 draws on average, with a standard deviation of 11.5: 5 of them is generous.
    assert np.abs(kept - 200).max() < 58


def test_shares_sum_up_and_never_exceed_a_group() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sizes = rng.integers(1, 50, rng.integers(1, 9))
        total = int(rng.integers(0, sizes.sum() + 1))
        got = shares(sizes, total)
        assert got.sum() == total and (got <= sizes).all()
        assert np.abs(got - sizes * total / sizes.sum()).max() < 1
