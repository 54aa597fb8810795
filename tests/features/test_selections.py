"""The same rows are chosen whatever shards and batches the features were computed in."""

from collections.abc import Iterator

import numpy as np
import pytest
from peft import LoraConfig

from selectmm.features.feature import Features, Targets
from selectmm.features.store import FeatureStore
from selectmm.methods.dataprophet import DataProphet
from selectmm.methods.el2n import El2n
from selectmm.methods.grand import Grand
from selectmm.methods.ifd import Ifd
from selectmm.methods.length import Length
from selectmm.methods.method import Method
from selectmm.methods.perplexity import Perplexity
from selectmm.methods.prism import Prism
from selectmm.methods.rds_plus import RdsPlus
from selectmm.methods.scalselect import ScalSelect
from selectmm.methods.subset import Subset
from selectmm.methods.tive import Tive
from selectmm.models import llava
from selectmm.models.vlm import VLM
from selectmm.pool.llava_json import open_llava_json
from selectmm.pool.pool import Pool
from selectmm.tuning.adapter import injected
from tests.features.material import store_of
from tests.tiny import tiny_llava, write_pool

METHODS: list[Method] = [
    Prism(),
    Prism(features="joint", scope="global", pool="last_token"),
    ScalSelect(),
    ScalSelect(user_mask="everything_but_answers", attention_mass=0.4, layer=2),
    Perplexity(),
    El2n(),
    Ifd(),
    Length(),
    RdsPlus(),
    DataProphet(clusters=3),
    DataProphet(level="row", layer=1),
    Grand(),
    Tive(projection_dim=64, sharpness=5.0),
]
SIZES = [(1, 3), (5, 12)]  # units per forward pass and per shard
BUDGET = 7


@pytest.fixture(scope="module")
def carried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VLM]:
    """A LLaVA that some gradients can be taken of."""
    vlm = llava.load(str(tiny_llava(tmp_path_factory.mktemp("llava"))), device="cpu")
    with injected(vlm, LoraConfig(r=4, target_modules=vlm.family.lora, init_lora_weights=False)) as wrapped:
        wrapped.eval().requires_grad_(False)
        yield vlm


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = tmp_path_factory.mktemp("targets")
    file, images = write_pool(folder, rows=6, seed=1)
    return open_llava_json(str(file), str(images), "stop", folder / "cache")


@pytest.fixture(scope="module")
def stores(carried: VLM, pool: Pool, targets: Pool, tmp_path_factory: pytest.TempPathFactory) -> list[FeatureStore]:
    """Stores that hold all that `METHODS` need, from one pass over each pool."""
    made = [store_of(carried, tmp_path_factory.mktemp("store"), *sizes) for sizes in SIZES]
    needs = [method.needs() for method in METHODS]
    for store in made:
        store.get(pool, [feature for need in needs for feature in need.features])
        store.get(targets, [feature for need in needs if need.targets for feature in need.features])
    return made


def features(store: FeatureStore, method: Method, pool: Pool, targets: Pool) -> Features:
    needs = method.needs()
    examples = Targets(targets, store.get(targets, needs.features)) if needs.targets else None
    return Features(store.get(pool, needs.features), examples)


def untied(subset: Subset) -> list[float]:
    """Rows that tie may take each other's place, their scores may not."""
    return np.sort(subset.scores[subset.rows]).tolist()


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_shards_and_batches_do_not_change_what_is_chosen(
    method: Method, pool: Pool, targets: Pool, stores: list[FeatureStore]
) -> None:
    given = [features(store, method, pool, targets) for store in stores]
    for other in given[1:]:
        for feature in method.needs().features:
            np.testing.assert_allclose(other[feature], given[0][feature], atol=2e-5, err_msg=repr(feature))
    first, *others = [method.select(pool, values, BUDGET, np.random.default_rng(0)) for values in given]
    assert len(first.rows) == BUDGET
    for other in others:
        close = {"rel": 1e-4, "abs": 1e-5, "nan_ok": True}
        assert other.scores.tolist() == pytest.approx(first.scores.tolist(), **close)
        assert untied(other) == pytest.approx(untied(first), **close)
        assert np.array_equal(other.rows, first.rows) or has_ties(first)
    read_again = method.select(pool, features(stores[0], method, pool, targets), BUDGET, np.random.default_rng(0))
    assert np.array_equal(read_again.rows, first.rows), "the same store gives the same rows to the bit"


def has_ties(subset: Subset) -> bool:
    """Whether a row that was kept and one that was not have the same score."""
    left = np.setdiff1d(np.arange(len(subset.scores)), subset.rows)
    return bool(np.isclose(subset.scores[subset.rows][:, None], subset.scores[left], atol=1e-5).any())
