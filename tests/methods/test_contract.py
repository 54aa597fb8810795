"""Every method keeps the contract, and the contract notices who does not."""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial

import numpy as np
import pytest

import selectmm.methods
from selectmm.features.feature import Features
from selectmm.features.ranks import config_of, feature_of
from selectmm.methods.adapt_inf import AdaptInf
from selectmm.methods.by_source import BySource
from selectmm.methods.check import check_method, invented_pool
from selectmm.methods.clip_score import ByClipScore
from selectmm.methods.coincide import Coincide
from selectmm.methods.d2_pruning import D2Pruning
from selectmm.methods.dataprophet import DataProphet
from selectmm.methods.datatailor import DataTailor
from selectmm.methods.dics import Dics
from selectmm.methods.el2n import El2n
from selectmm.methods.grand import Grand
from selectmm.methods.icons import Icons
from selectmm.methods.ifd import Ifd
from selectmm.methods.length import Length
from selectmm.methods.less import Less
from selectmm.methods.magic import Magic
from selectmm.methods.method import Method, Needs
from selectmm.methods.once_select import OnceSelect
from selectmm.methods.order import ranked_rows, shares
from selectmm.methods.perplexity import Perplexity
from selectmm.methods.presel import PreSel
from selectmm.methods.prism import Prism
from selectmm.methods.random import Random
from selectmm.methods.rds_plus import RdsPlus
from selectmm.methods.scalselect import ScalSelect
from selectmm.methods.self_filter import SelfFilter
from selectmm.methods.self_sup import SelfSup
from selectmm.methods.semdedup import SemDeDup
from selectmm.methods.subset import Subset
from selectmm.methods.tive import Tive
from selectmm.methods.vds3 import Vds3
from selectmm.methods.visnec import VisNec
from selectmm.methods.xmas import Xmas
from selectmm.pool.pool import Pool


def varied(kind: Callable[..., Method], **values: Sequence[object]) -> list[Method]:
    """The method at its defaults, and with each other value of each option."""
    return [kind(), *(kind(**{name: value}) for name, given in values.items() for value in given)]


ENDS = ("low", "medium", "high")
METHODS: list[Method] = [
    Random(),
    Length(),
    BySource(),
    El2n(),
    Ifd(),
    RdsPlus(),
    *(Perplexity(keep) for keep in ENDS),
    *varied(Grand, scope=["all_linear"]),
    ByClipScore("a-folder"),
    ByClipScore("a-folder", text_only="exclude"),
    *varied(DataProphet, layer=[1], clusters=[3], silhouette_rows=[5], level=["row"]),
    *varied(
        ScalSelect,
        layer=[2],
        attention_mass=[0.5],
        energy=[0.3, 1.0],
        conditioning=["all_image_tokens"],
        user_mask=["everything_but_answers"],
        centering=[False],
        text_only=["exclude"],
        frames=["each", "middle"],
    ),
    *varied(
        Coincide,
        clusters=[3],
        rows_per_cluster=[4],
        iterations=[1],
        temperature=[5.0],
        mask=[0.5, 1.0],
        sigma=[0.2],
    ),
    *varied(
        Icons,
        projection_dim=[64],
        scope=["self_attn"],
        percentile=[50.0],
        tie=["key"],
        parts=["mean"],
        part_gradients=["unit"],
    ),
    *varied(D2Pruning, keep=["hard"], neighbours=[1], gamma=[2.0], forward_gamma=[0.1], normalise=[True]),
    *varied(DataTailor, cut=[0.5], ward_rows=[6], iterations=[1]),
    *(SelfSup(keep, rows_per_cluster=6) for keep in ("hard", "easy")),
    SelfSup("hard", pool="mean", normalise=False, clusters=2, iterations=1),
    *varied(
        AdaptInf,
        scores=[["entropy"], ["grounding", "el2n"]],
        clusters=[2],
        iterations=[1],
        cluster_by=["gradients"],
        projection_dim=[64],
        bins=[3],
        trim=[0.3],
    ),
    *varied(
        Magic,
        gain_share=[0.2, 1.0],
        shortlist=[1.0],
        look=[0.0],
        temperature=[5.0],
        bucket_cap=[1.0],
        activation=["gate"],
        spread=["mad"],
        cut=[None],
        scale_over=["pool"],
        removal=["mask"],
    ),
    Less(checkpoints=2),
    Less(checkpoints=1, projection_dim=64, scope="all_linear", targets="mean", parts="mean"),
    Less(checkpoints=1, targets="round_robin"),
    *varied(
        PreSel,
        temperature=[2.0],
        encoder=["a-folder"],
        rows_per_cluster=[5],
        iterations=[1],
        neighbours=[1],
        text_rows=["proportional"],
        several=["first"],
    ),
    *varied(partial(Xmas, clusters=6), checkpoints=[2], values=[1], clusters=[4], iterations=[1]),
    *varied(Dics, light=[1.0], mean=["tokens"], removal=["mask"], from_core=[True]),
    OnceSelect(clusters=4, epochs=2, wide=16, gate=8),
    OnceSelect(
        encoder="a-folder",
        clusters=2,
        iterations=1,
        core_share=0.5,
        wide=8,
        gate=4,
        dropout=0.5,
        epochs=1,
        validation=0.5,
        accuracy=0.1,
        candidates=1.0,
        block=5,
        jitter=1e-4,
    ),
    *varied(
        SelfFilter,
        difficulty=[Ifd(), Perplexity("low"), Less(checkpoints=1), PreSel()],
        keep=["low"],
        encoder=["a-folder"],
        halves=["raw"],
        neighbours=[1],
        gamma=[0.5],
        shift=[False],
    ),
    *varied(SemDeDup, clusters=[2], rows_per_cluster=[4], iterations=[1], keep=["easy"]),
    *varied(Vds3, score=["vds", "frame_difference"], frames=[2], removal=["mask"]),
    *varied(VisNec, clusters=[3], iterations=[1], removal=["drop"], encoder=["a-folder"]),
    *[Prism(centering=c, scope=s) for c in ("corpus_mean", "per_vector", "none") for s in ("per_source", "global")],
    *[Prism(features=f, keep=k, pool=p) for f, k, p in [("joint", "medium", "mean"), ("joint", "high", "last_token")]],
    Prism(several="first"),
    *[Prism(frames=frames) for frames in ("each", "middle")],
]
REPEATING: list[Method] = varied(
    Tive,
    projection_dim=[64],
    scope=["all_linear"],
    difficulty=["squared_norm", "size"],
    sharpness=[5.0],
    sharpness_by=["divide"],
    exclude=[(), ("source-1",)],
)
# Deaf to the budget, or bound to one pool; see test_from_file.py and test_one_source.py.
APART = {"Full", "FromIndices", "FromScores", "OneSource"}


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_methods_keep_the_contract(method: Method) -> None:
    check_method(method)


@pytest.mark.parametrize("method", REPEATING, ids=repr)
def test_tive_keeps_the_contract_but_may_keep_a_row_more_than_once(method: Method) -> None:
    check_method(method, repeats=True)


def test_no_method_and_no_option_is_left_out() -> None:
    tested = {type(method) for method in (*METHODS, *REPEATING)}
    there = {kind for kind in _classes() if all(callable(getattr(kind, name, None)) for name in ("needs", "select"))}
    lacking = {kind.__name__ for kind in there - tested} ^ APART
    assert not lacking, f"put them into METHODS above, with each option varied: {', '.join(sorted(lacking))}"
    for kind in tested:
        for option in fields(kind):
            values = {repr(getattr(m, option.name)) for m in (*METHODS, *REPEATING) if type(m) is kind}
            assert len(values) > 1 or (kind, option.name) in UNVARIED, f"{kind.__name__}.{option.name}"


UNVARIED = {
    (BySource, "first"),  # a name that a pool lacks is refused; see test_by_source.py
    (BySource, "last"),
    (Prism, "layer"),  # what is read before a method selects, and cannot change how it does
    (Coincide, "layers"),
    (Coincide, "depth"),
    *((Magic, option) for option in ("layers", "top", "depth")),
    (ByClipScore, "checkpoint"),
    *((kind, "warmup") for kind in (Dics, Less, PreSel, Xmas)),
    (Grand, "warmup"),
    (Icons, "warmup"),
    (AdaptInf, "warmup"),
    (Tive, "warmup"),
}


def _classes() -> Iterator[type]:
    """All dataclasses that the modules of selectmm.methods define."""
    for found in pkgutil.iter_modules(selectmm.methods.__path__, "selectmm.methods."):
        module = importlib.import_module(found.name)
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == found.name and is_dataclass(kind):
                yield kind


@dataclass(frozen=True)
class First:
    """Keeps the first rows: depends on how the pool is stored."""

    surplus: int = 0

    def needs(self) -> Needs:
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        return Subset(np.arange(min(budget + self.surplus, len(pool))))


@dataclass(frozen=True)
class Careless:
    """Gives an array instead of a subset, or scores of the kept rows alone."""

    scores: bool = False

    def needs(self) -> Needs:
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        rows = np.arange(budget)
        return Subset(rows, np.zeros(budget)) if self.scores else rows


def test_the_contract_says_what_a_method_has_to_return() -> None:
    with pytest.raises(AssertionError, match=r"Careless\(scores=False\) gave a ndarray, not a Subset"):
        check_method(Careless())
    with pytest.raises(AssertionError, match=r"gave scores of shape \(1,\) for 60 rows"):
        check_method(Careless(scores=True))


@dataclass(frozen=True)
class ThroughASet:
    """Rows of the source that comes first in a set of names, which is the same all through one process."""

    in_order: bool = False

    def needs(self) -> Needs:
        return Needs()

    def select(self, pool: Pool, features: Features, budget: int, rng: np.random.Generator) -> Subset:
        names = set(pool.sources.tolist())
        first = sorted(names)[0] if self.in_order else next(iter(names))
        return Subset(ranked_rows(pool, np.where(pool.sources == first, 0.0, 1.0), budget, "low"))


def test_the_contract_notices_an_order_that_another_process_would_change() -> None:
    with pytest.raises(
        AssertionError, match=r"usually it goes through a set of names, whose order differs from one pr"
    ):
        check_method(ThroughASet())
    check_method(ThroughASet(in_order=True))


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


def test_another_process_reads_each_feature_as_it_was_told() -> None:
    features = {feature for method in METHODS for feature in method.needs().features}
    assert len(features) > 20
    for feature in features:
        found = json.loads(json.dumps(config_of(feature)))
        assert feature_of(found) == feature and hash(feature_of(found)) == hash(feature), feature
